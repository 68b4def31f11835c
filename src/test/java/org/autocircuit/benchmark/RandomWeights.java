package org.autocircuit.benchmark;

import java.util.LinkedHashMap;
import java.util.Map;
import org.autocircuit.checkpoint.Gpt2Weights;
import org.autocircuit.model.Model;
import org.autocircuit.model.TransformerConfig;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** GPT-2 models with random weights, spread like those of an untrained one. */
final class RandomWeights {

  private static final double DEVIATION = 0.02;

  private RandomWeights() {}

  /** A model with a tied embedding, to be closed by the caller. */
  static Model model(TransformerConfig config, long seed) {
    return model(config, seed, ScalarType.Float);
  }

  /** As {@link #model(TransformerConfig, long)}, with the same numbers rounded to a type. */
  static Model model(TransformerConfig config, long seed, ScalarType type) {
    try (PointerScope scope = new PointerScope()) {
      Map<String, Tensor> weights = of(config, seed);
      weights.replaceAll((name, weight) -> weight.to(type));
      return Model.of(config, weights);
    }
  }

  private static Map<String, Tensor> of(TransformerConfig config, long seed) {
    torch.manual_seed(seed);
    Scalar deviation = new Scalar(DEVIATION);
    Scalar one = new Scalar(1.0);
    Map<String, Tensor> weights = new LinkedHashMap<>();
    for (Gpt2Weights.Weight weight : Gpt2Weights.of(config, true)) {
      Tensor tensor = torch.randn(weight.shapeArray()).mul_(deviation);
      boolean normWeight = weight.name().endsWith(".w");
      weights.put(weight.name(), normWeight ? tensor.add_(one) : tensor);
    }
    weights.put("unembed.W_U", weights.get("embed.W_E"));
    return weights;
  }
}
