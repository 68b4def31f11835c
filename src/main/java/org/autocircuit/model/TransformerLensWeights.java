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
 * into the library's own.
 *
 * <table>
 * <caption>What is not the same in both; N counts blocks from 0</caption>
 * <tr><th>TransformerLens</th><th>canonical</th></tr>
 * <tr><td>blocks.N.attn.W_Q {@code [n_heads, d_model, d_head]}, W_K and W_V {@code [n_heads, ..]},
 *     or with grouped-query attention _W_K and _W_V {@code [n_key_value_heads, ..]}</td>
 *     <td>W_QKV {@code [d_model, (n_heads + 2 * n_key_value_heads) * d_head]}</td></tr>
 * <tr><td>b_Q, b_K, b_V or _b_K, _b_V</td><td>b_QKV</td></tr>
 * <tr><td>W_O {@code [n_heads, d_head, d_model]}</td>
 *     <td>W_O {@code [n_heads * d_head, d_model]}</td></tr>
 * <tr><td>unembed.W_U {@code [d_model, d_vocab]}</td><td>{@code [d_vocab, d_model]}</td></tr>
 * </table>
 *
 * <p>Values are taken as they are, so the configuration must describe what TransformerLens made of
 * them: its Gemma loader adds 1 to the weights of norms and multiplies the embedding, which leaves
 * {@code weightOffset} at 0 and {@code embedScale} at 1; folded norms are {@link
 * Norm#withoutWeights}.
 */
public final class TransformerLensWeights {

  private final TransformerConfig config;
  private final Map<String, Tensor> weights;

  private TransformerLensWeights(TransformerConfig config, Map<String, Tensor> weights) {
    this.config = config;
    this.weights = weights;
  }

  /**
   * Converts weights. Entries that are no weights (causal masks, rotations and the like) are left
   * out, and so are biases that the configuration has no place for: TransformerLens stores zeros
   * for those.
   *
   * @param config the model's structure
   * @param weights TransformerLens's name to tensor; not changed
   * @return canonical name to tensor, as {@link Model#of} takes them. What is the same in both is
   *     shared, the rest copied; all tensors belong to the caller's innermost {@code PointerScope}.
   *     The embedding is not tied, since TransformerLens stores it twice.
   * @throws IllegalArgumentException naming the weight that is missing or has another shape, or the
   *     bias that has no place and is not zero
   */
  public static Map<String, Tensor> toCanonical(ModelConfig config, Map<String, Tensor> weights) {
    try (CallScope scope = new CallScope()) {
      Map<String, Tensor> canonical = new LinkedHashMap<>();
      TransformerLensWeights source =
          config instanceof TransformerConfig transformer
              ? new TransformerLensWeights(transformer, weights)
              : null;
      if (source != null) {
        source.refuseLostBiases();
      }
      WeightShapes.of(config)
          .forEach(
              (name, shape) -> {
                if (!name.equals(WeightShapes.UNEMBEDDING_BIAS) || weights.containsKey(name)) {
                  canonical.put(
                      name,
                      source == null
                          ? new Tensor(weight(weights, name, shape))
                          : source.convert(name, shape));
                }
              });
      scope.handOutAll(canonical.values());
      return Collections.unmodifiableMap(canonical);
    }
  }

  private Tensor convert(String name, long[] shape) {
    if (name.endsWith("attn.W_QKV")) {
      List<Tensor> parts = new ArrayList<>();
      for (String part : List.of("Q", "K", "V")) {
        Tensor heads = projection(name, part, config.dModel(), config.dHead());
        parts.add(heads.permute(1, 0, 2).reshape(config.dModel(), -1));
      }
      return joined(parts, 1);
    }
    if (name.endsWith("attn.b_QKV")) {
      List<Tensor> parts = new ArrayList<>();
      for (String part : List.of("Q", "K", "V")) {
        parts.add(projection(name, part, config.dHead()).reshape(-1));
      }
      return joined(parts, 0);
    }
    if (name.endsWith("attn.W_O")) {
      return weight(weights, name, config.nHeads(), config.dHead(), config.dModel()).reshape(shape);
    }
    if (name.equals(WeightShapes.UNEMBEDDING)) {
      return weight(weights, name, config.dModel(), config.dVocab()).t().contiguous();
    }
    return new Tensor(weight(weights, name, shape));
  }

  /** The heads of one of Q, K, V: [heads, ...]. */
  private Tensor projection(String name, String part, long... headShape) {
    boolean query = part.equals("Q");
    String own = name.replace("QKV", part);
    if (!query && config.groupedQueries()) {
      own = own.replace("attn.", "attn._");
    }
    long[] shape = new long[headShape.length + 1];
    shape[0] = query ? config.nHeads() : config.nKeyValueHeads();
    System.arraycopy(headShape, 0, shape, 1, headShape.length);
    return weight(weights, own, shape);
  }

  private void refuseLostBiases() {
    Map<String, Boolean> kept = new LinkedHashMap<>();
    for (String part : List.of("b_Q", "b_K", "b_V", "_b_K", "_b_V")) {
      kept.put("attn." + part, config.biases().qkv());
    }
    kept.put("attn.b_O", config.biases().attentionOutput());
    kept.put("mlp.b_in", config.biases().mlp());
    kept.put("mlp.b_out", config.biases().mlp());
    for (int block = 0; block < config.nLayers(); block++) {
      for (Map.Entry<String, Boolean> bias : kept.entrySet()) {
        String name = "blocks." + block + "." + bias.getKey();
        if (!bias.getValue() && weights.containsKey(name)) {
          Tensor value = Arguments.live("weight " + name, weights.get(name));
          if (value.count_nonzero().item_long() > 0) {
            throw new IllegalArgumentException(
                "weight %s is not zero, but the configuration has no such bias: %s"
                    .formatted(name, config.biases()));
          }
        }
      }
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
