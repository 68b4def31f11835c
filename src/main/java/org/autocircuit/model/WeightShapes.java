package org.autocircuit.model;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Set;
import org.autocircuit.internal.Arguments;
import org.bytedeco.pytorch.Tensor;

/** The canonical weights that a model of some structure has, and a check of what a user gives. */
public final class WeightShapes {

  /** The embedding of tokens. */
  public static final String EMBEDDING = "embed.W_E";

  /** The weight that makes logits of the last residual stream; may be the embedding itself. */
  public static final String UNEMBEDDING = "unembed.W_U";

  /** The one weight that a transformer may have or not, whatever its structure. */
  public static final String UNEMBEDDING_BIAS = "unembed.b_U";

  private final Map<String, long[]> shapes = new LinkedHashMap<>();

  private WeightShapes() {}

  /**
   * The given weights in canonical order.
   *
   * @throws IllegalArgumentException naming the first weight that is missing, superfluous, or of
   *     another shape, type or device than the model or its first weight
   */
  static Map<String, Tensor> checked(ModelConfig config, Map<String, Tensor> weights) {
    Map<String, long[]> shapes = of(config);
    Map<String, Tensor> checked = new LinkedHashMap<>();
    Precision precision = null;
    String device = null;
    for (Map.Entry<String, long[]> expected : shapes.entrySet()) {
      String name = expected.getKey();
      Tensor weight = weights.get(name);
      if (weight == null && name.equals(UNEMBEDDING_BIAS)) {
        continue;
      }
      if (weight == null) {
        throw new IllegalArgumentException(
            "weight %s is missing, expected shape %s"
                .formatted(name, Arrays.toString(expected.getValue())));
      }
      String label = "weight " + name;
      Arguments.shape(label, Arguments.live(label, weight), "", expected.getValue());
      if (precision == null) {
        precision = Precision.of(label, weight);
        device = Arguments.deviceOf(weight);
      }
      Arguments.type(label, weight, precision.scalarType());
      Arguments.device(label, weight, device);
      checked.put(name, weight);
    }
    Set<String> superfluous = new LinkedHashSet<>(weights.keySet());
    superfluous.removeAll(checked.keySet());
    if (!superfluous.isEmpty()) {
      throw new IllegalArgumentException("%s has no weights %s".formatted(config, superfluous));
    }
    return checked;
  }

  /** Canonical name to shape of every weight, in the order of a forward pass. */
  public static Map<String, long[]> of(ModelConfig config) {
    WeightShapes weights = new WeightShapes();
    if (config instanceof TransformerConfig transformer) {
      weights.transformer(transformer);
    } else {
      for (int block = 0; block < config.nLayers(); block++) {
        weights.add("blocks." + block + ".weights", config.nHeads(), config.dModel());
      }
    }
    return weights.shapes;
  }

  private void transformer(TransformerConfig config) {
    long d = config.dModel();
    add(EMBEDDING, config.dVocab(), d);
    if (config.rotary().isEmpty()) {
      add("pos_embed.W_pos", config.nCtx(), d);
    }
    for (int block = 0; block < config.nLayers(); block++) {
      String prefix = "blocks." + block + ".";
      norm(config.norm(), prefix + "ln1", d);
      attention(config, prefix + "attn.");
      if (config.postNorms()) {
        norm(config.norm(), prefix + "ln1_post", d);
      }
      if (config.hasMlp()) {
        norm(config.norm(), prefix + "ln2", d);
        mlp(config, prefix + "mlp.");
        if (config.postNorms()) {
          norm(config.norm(), prefix + "ln2_post", d);
        }
      }
      if (config.autoencoders().isPresent() && config.autoencoders().get().has(block)) {
        shapes.putAll(
            AutoencoderWeights.shapes(config.autoencoders().get(), block, config.dModel()));
      }
    }
    norm(config.norm(), "ln_final", d);
    add(UNEMBEDDING, config.dVocab(), d);
    add(UNEMBEDDING_BIAS, config.dVocab());
  }

  private void attention(TransformerConfig config, String prefix) {
    long d = config.dModel();
    long dHead = config.dHead();
    long qkv = (config.nHeads() + 2L * config.nKeyValueHeads()) * dHead;
    add(prefix + "W_QKV", d, qkv);
    if (config.biases().qkv()) {
      add(prefix + "b_QKV", qkv);
    }
    if (config.attentionScores().qkNorm()) {
      norm(config.norm(), prefix + "q_norm", dHead);
      norm(config.norm(), prefix + "k_norm", dHead);
    }
    add(prefix + "W_O", config.nHeads() * dHead, d);
    if (config.biases().attentionOutput()) {
      add(prefix + "b_O", d);
    }
  }

  private void mlp(TransformerConfig config, String prefix) {
    long d = config.dModel();
    long dMlp = config.dMlp();
    add(prefix + "W_in", d, dMlp);
    if (config.gatedMlp()) {
      add(prefix + "W_gate", d, dMlp);
    }
    if (config.biases().mlp()) {
      add(prefix + "b_in", dMlp);
    }
    add(prefix + "W_out", dMlp, d);
    if (config.biases().mlp()) {
      add(prefix + "b_out", d);
    }
  }

  private void norm(Norm norm, String prefix, long size) {
    if (norm.weights()) {
      add(prefix + ".w", size);
    }
    if (norm.hasBias()) {
      add(prefix + ".b", size);
    }
  }

  private void add(String name, long... shape) {
    shapes.put(name, shape);
  }
}
