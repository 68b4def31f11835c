package org.autocircuit;

import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.autocircuit.checkpoint.Gpt2Weights;
import org.autocircuit.data.PromptPair;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.model.WeightShapes;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Small models with random weights, and prompts for them. The same seed gives the same numbers. */
public final class RandomModels {

  /** Two blocks whose heads are narrower together than the residual stream. */
  public static final TransformerConfig SMALL = config(2, 12, 3, 2, 20, 17, 9);

  private RandomModels() {}

  /** A model of GPT-2's kind. */
  public static TransformerConfig config(
      int nLayers, int dModel, int nHeads, int dHead, int dMlp, int dVocab, int nCtx) {
    return TransformerConfig.builder()
        .nLayers(nLayers)
        .dModel(dModel)
        .nHeads(nHeads)
        .dHead(dHead)
        .dMlp(dMlp)
        .dVocab(dVocab)
        .nCtx(nCtx)
        .build();
  }

  /** Normally distributed numbers. */
  public static double[] normal(long size, double scale, Random random) {
    double[] values = new double[Math.toIntExact(size)];
    for (int i = 0; i < values.length; i++) {
      values[i] = scale * random.nextGaussian();
    }
    return values;
  }

  /** Numbers from 0 to 1. */
  public static double[] uniform(int size, long seed) {
    return new Random(seed).doubles(size).toArray();
  }

  /** Canonical weights. Goes to the innermost scope. */
  public static Map<String, Tensor> weights(
      TransformerConfig config, ScalarType type, boolean tied, long seed) {
    Random random = new Random(seed);
    Map<String, Tensor> weights = new LinkedHashMap<>();
    for (Gpt2Weights.Weight weight : Gpt2Weights.of(config, tied)) {
      long[] shape = weight.shapeArray();
      long size = 1;
      for (long dimension : shape) {
        size *= dimension;
      }
      boolean matrix = shape.length == 2;
      double[] values = normal(size, matrix ? 0.4 : 0.3, random);
      if (weight.name().contains("ln") && weight.name().endsWith(".w")) {
        for (int i = 0; i < values.length; i++) {
          values[i] += 1;
        }
      }
      weights.put(weight.name(), TensorArrays.of(values, type, TestDevice.NAME, shape));
    }
    weights.putIfAbsent("unembed.W_U", weights.get("embed.W_E"));
    return weights;
  }

  /** A model in the CPU's memory. */
  public static Model model(TransformerConfig config, Precision precision, long seed) {
    try (PointerScope scope = new PointerScope()) {
      return Model.of(config, weights(config, precision.scalarType(), false, seed));
    }
  }

  /** A patchable model. */
  public static PatchableModel patchable(
      TransformerConfig config, Precision precision, PatchableModelOptions options, long seed) {
    try (Model model = model(config, precision, seed)) {
      return PatchableModel.of(model, options);
    }
  }

  /** A patchable model of any structure, all of whose weights are random. */
  public static PatchableModel patchableOfAnyKind(
      TransformerConfig config, Precision precision, long seed) {
    Random random = new Random(seed);
    Map<String, Tensor> weights = new LinkedHashMap<>();
    try (PointerScope scope = new PointerScope()) {
      WeightShapes.of(config)
          .forEach(
              (name, shape) -> {
                long size = Arrays.stream(shape).reduce(1, Math::multiplyExact);
                double[] values = normal(size, 0.3, random);
                if (name.contains("ln") && name.endsWith(".w")) {
                  Arrays.setAll(values, i -> 1 + values[i]);
                }
                weights.put(
                    name, TensorArrays.of(values, precision.scalarType(), TestDevice.NAME, shape));
              });
      try (Model model = Model.of(config, weights)) {
        return PatchableModel.of(model, PatchableModelOptions.defaults());
      }
    }
  }

  /** Random prompts. */
  public static long[][] prompts(TransformerConfig config, int batch, int seq, long seed) {
    Random random = new Random(seed);
    long[][] tokens = new long[batch][seq];
    for (long[] row : tokens) {
      for (int i = 0; i < seq; i++) {
        row[i] = random.nextInt(config.dVocab());
      }
    }
    return tokens;
  }

  /** Pairs of random prompts with one right and one wrong answer each. */
  public static PromptPairBatch promptPairs(
      TransformerConfig config, int batch, int seq, long seed) {
    PromptPair pair = new PromptPair("clean", "corrupt", List.of("right"), List.of("wrong"));
    return new PromptPairBatch(
        Collections.nCopies(batch, pair),
        prompts(config, batch, seq, seed),
        prompts(config, batch, seq, seed + 1),
        prompts(config, batch, 1, seed + 2),
        prompts(config, batch, 1, seed + 3));
  }

  /** Random prompts as a tensor, which goes to the innermost scope. */
  public static Tensor tokens(TransformerConfig config, int batch, int seq, long seed) {
    return TensorArrays.of(prompts(config, batch, seq, seed), "tokens", TestDevice.NAME);
  }

  /** Mask values from -0.5 to 1.5, some exactly 0 and some exactly 1. */
  public static double[] masks(ModelGraph graph, long seed) {
    Random random = new Random(seed);
    double[] masks = new double[graph.maskSize()];
    for (int i = 0; i < masks.length; i++) {
      int kind = random.nextInt(4);
      masks[i] = kind == 0 ? 0 : kind == 1 ? 1 : 2 * random.nextDouble() - 0.5;
    }
    return masks;
  }
}
