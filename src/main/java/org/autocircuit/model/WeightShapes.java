package org.autocircuit.model;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Set;
import org.autocircuit.internal.Arguments;
import org.autocircuit.internal.ModelHandle;
import org.bytedeco.pytorch.Tensor;

/** The canonical weights that a model of some structure has, and a check of what a user gives. */
public final class WeightShapes {

  /** The embedding of tokens. */
  public static final String EMBEDDING = "embed.W_E";

  /** The weight that makes logits of the last residual stream; may be the embedding itself. */
  public static final String UNEMBEDDING = "unembed.W_U";

  /** The one weight that a transformer may have or not, whatever its structure. */
  public static final String UNEMBEDDING_BIAS = "unembed.b_U";

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

  /**
   * Canonical name to shape of every weight, in the order of a forward pass, as native code answers
   * for the structure.
   */
  public static Map<String, long[]> of(ModelConfig config) {
    Map<String, long[]> shapes = new LinkedHashMap<>();
    for (String line : ModelHandle.weightShapes(config.nativeDescription())) {
      String[] words = line.split(" ", -1);
      shapes.put(words[0], Arrays.stream(words).skip(1).mapToLong(Long::parseLong).toArray());
    }
    return shapes;
  }
}
