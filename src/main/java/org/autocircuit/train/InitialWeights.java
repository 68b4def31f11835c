package org.autocircuit.train;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Random;
import org.autocircuit.checkpoint.Gpt2Weights;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.model.WeightShapes;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Random weights to begin training with, as Radford et al. (2019) chose them for GPT-2: matrices
 * are normally distributed, those that write into the residual stream {@code sqrt(2 * nLayers)}
 * times smaller, biases are zero and norm scales one. The standard deviation, 0.02 there, is {@code
 * 0.5 / sqrt(dModel)} here, which is about the same at their width and larger for narrow models.
 */
final class InitialWeights {

  private InitialWeights() {}

  /**
   * Weights in 32-bit floats with a tied embedding, by canonical name. They are the same on every
   * platform for a seed, and belong to the caller's innermost scope.
   */
  static Map<String, Tensor> of(TransformerConfig config, long seed) {
    Random random = new Random(seed);
    double deviation = 0.5 / Math.sqrt(config.dModel());
    double intoResidual = deviation / Math.sqrt(2.0 * config.nLayers());
    Map<String, Tensor> weights = new LinkedHashMap<>();
    try (CallScope scope = new CallScope()) {
      for (Gpt2Weights.Weight weight : Gpt2Weights.of(config, true)) {
        String name = weight.name();
        float[] values = new float[size(weight.shapeArray())];
        if (weight.shape().size() > 1) {
          boolean writes = name.endsWith(".W_O") || name.endsWith(".W_out");
          for (int i = 0; i < values.length; i++) {
            values[i] = (float) (random.nextGaussian() * (writes ? intoResidual : deviation));
          }
        } else if (name.endsWith(".w")) {
          Arrays.fill(values, 1);
        }
        weights.put(name, TensorArrays.of(values, ScalarType.Float, "cpu", weight.shapeArray()));
      }
      scope.handOutAll(weights.values());
    }
    weights.put(WeightShapes.UNEMBEDDING, weights.get(WeightShapes.EMBEDDING));
    return weights;
  }

  private static int size(long[] shape) {
    long size = 1;
    for (long dimension : shape) {
      size = Math.multiplyExact(size, dimension);
    }
    return Math.toIntExact(size);
  }
}
