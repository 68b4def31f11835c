package org.autocircuit.model;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Set;
import org.autocircuit.internal.Arguments;
import org.bytedeco.pytorch.Tensor;

/** The canonical weights that a model of some structure has, and a check of what a user gives. */
final class WeightShapes {

  private static final String UNEMBEDDING = "unembed.W_U";
  private static final String UNEMBEDDING_BIAS = "unembed.b_U";

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

  private static Map<String, long[]> of(ModelConfig config) {
    Map<String, long[]> shapes = new LinkedHashMap<>();
    if (config instanceof TransformerConfig transformer) {
      for (Gpt2Weights.Weight weight : Gpt2Weights.of(transformer, false)) {
        shapes.put(weight.name(), weight.shapeArray());
      }
      shapes.put(UNEMBEDDING, new long[] {transformer.dVocab(), transformer.dModel()});
      shapes.put(UNEMBEDDING_BIAS, new long[] {transformer.dVocab()});
    } else {
      for (int block = 0; block < config.nLayers(); block++) {
        shapes.put("blocks." + block + ".weights", new long[] {config.nHeads(), config.dModel()});
      }
    }
    return shapes;
  }
}
