package org.autocircuit.model;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.autocircuit.internal.Arguments;
import org.autocircuit.internal.CallScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/**
 * Weights under TransformerLens's names and layouts, as its {@code state_dict()} has them, turned
 * into the library's own: {@code W_Q}, {@code W_K}, {@code W_V} {@code [n_heads, d_model, d_head]}
 * become one {@code W_QKV [d_model, 3 * n_heads * d_head]}, their biases {@code b_QKV}, {@code W_O
 * [n_heads, d_head, d_model]} becomes {@code [n_heads * d_head, d_model]}, and {@code W_U [d_model,
 * d_vocab]} becomes {@code [d_vocab, d_model]}. All other weights are the same in both.
 */
public final class TransformerLensWeights {

  private TransformerLensWeights() {}

  /**
   * Converts weights. Entries that are no weights (causal masks and the like) are left out.
   *
   * @param config the model's structure
   * @param weights TransformerLens's name to tensor; not changed
   * @return canonical name to tensor, as {@link Model#of} takes them. What is the same in both is
   *     shared, the rest copied; all tensors belong to the caller's innermost {@code PointerScope}.
   *     The embedding is not tied, since TransformerLens stores it twice.
   * @throws IllegalArgumentException naming the weight that is missing or has another shape
   */
  public static Map<String, Tensor> toCanonical(ModelConfig config, Map<String, Tensor> weights) {
    try (CallScope scope = new CallScope()) {
      Map<String, Tensor> canonical = new LinkedHashMap<>();
      if (config instanceof TransformerConfig transformer) {
        convert(transformer, weights, canonical);
      } else {
        for (int block = 0; block < config.nLayers(); block++) {
          String name = "blocks." + block + ".weights";
          canonical.put(name, new Tensor(weight(weights, name, config.nHeads(), config.dModel())));
        }
      }
      canonical.values().forEach(scope::handOut);
      return Collections.unmodifiableMap(canonical);
    }
  }

  private static void convert(
      TransformerConfig config, Map<String, Tensor> weights, Map<String, Tensor> canonical) {
    long heads = config.nHeads();
    long dHead = config.dHead();
    long dModel = config.dModel();
    for (Gpt2Weights.Weight weight : Gpt2Weights.of(config, true)) {
      String name = weight.name();
      if (name.endsWith("attn.W_QKV")) {
        List<Tensor> parts = new ArrayList<>();
        for (String part : List.of("Q", "K", "V")) {
          Tensor projection = weight(weights, name.replace("QKV", part), heads, dModel, dHead);
          parts.add(projection.permute(1, 0, 2).reshape(dModel, heads * dHead));
        }
        canonical.put(name, joined(parts, 1));
      } else if (name.endsWith("attn.b_QKV")) {
        List<Tensor> parts = new ArrayList<>();
        for (String part : List.of("Q", "K", "V")) {
          parts.add(
              weight(weights, name.replace("QKV", part), heads, dHead).reshape(heads * dHead));
        }
        canonical.put(name, joined(parts, 0));
      } else if (name.endsWith("attn.W_O")) {
        Tensor output = weight(weights, name, heads, dHead, dModel);
        canonical.put(name, output.reshape(heads * dHead, dModel));
      } else {
        canonical.put(name, new Tensor(weight(weights, name, weight.shapeArray())));
      }
    }
    Tensor unembedding = weight(weights, "unembed.W_U", dModel, config.dVocab());
    canonical.put("unembed.W_U", unembedding.t().contiguous());
    if (weights.containsKey("unembed.b_U")) {
      canonical.put("unembed.b_U", new Tensor(weight(weights, "unembed.b_U", config.dVocab())));
    }
  }

  private static Tensor weight(Map<String, Tensor> weights, String name, long... shape) {
    if (!weights.containsKey(name)) {
      throw new IllegalArgumentException("weight " + name + " is missing");
    }
    Tensor weight = Arguments.live("weight " + name, weights.get(name));
    Arguments.shape("weight " + name, weight, "", shape);
    return weight.detach();
  }

  private static Tensor joined(List<Tensor> parts, int dim) {
    return torch.cat(new TensorVector(parts.toArray(Tensor[]::new)), dim);
  }
}
