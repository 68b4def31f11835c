package org.autocircuit;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.function.Function;
import org.autocircuit.checkpoint.Gpt2Weights;
import org.autocircuit.data.PromptPair;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.MicroModelConfig;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.bytedeco.pytorch.Tensor;

/** Small models with seeded random weights, and inputs for them. */
public final class TestModels {

  public static final TransformerConfig CONFIG =
      TransformerConfig.builder()
          .nLayers(2)
          .dModel(16)
          .nHeads(4)
          .dMlp(32)
          .dVocab(31)
          .nCtx(12)
          .build();

  public static final MicroModelConfig MICRO = new MicroModelConfig(2);

  private TestModels() {}

  /** A two-block transformer with an embedding of its own or a tied one. */
  public static Model transformer(Precision precision, boolean tied, long seed) {
    Random random = new Random(seed);
    try (CallScope scope = new CallScope()) {
      Map<String, Tensor> weights = new LinkedHashMap<>();
      for (Gpt2Weights.Weight weight : Gpt2Weights.of(CONFIG, tied)) {
        boolean scale = weight.name().endsWith(".w");
        weights.put(
            weight.name(),
            randomTensor(random, precision, scale ? 0.1 : 0.3, scale ? 1 : 0, weight.shapeArray()));
      }
      if (tied) {
        weights.put("unembed.W_U", weights.get("embed.W_E"));
      }
      return Model.of(CONFIG, weights);
    }
  }

  /** A patchable two-block transformer in 32-bit floats. */
  public static PatchableModel patchable() {
    return patchable(Precision.FLOAT32, PatchableModelOptions.defaults());
  }

  /** A patchable two-block transformer. */
  public static PatchableModel patchable(Precision precision, PatchableModelOptions options) {
    try (Model model = transformer(precision, true, 1)) {
      return PatchableModel.of(model, options);
    }
  }

  /** A patchable micro model in 64-bit floats. */
  public static PatchableModel micro(PatchableModelOptions options) {
    Random random = new Random(2);
    try (CallScope scope = new CallScope()) {
      Map<String, Tensor> weights = new LinkedHashMap<>();
      for (int block = 0; block < MICRO.nLayers(); block++) {
        weights.put(
            "blocks." + block + ".weights",
            randomTensor(random, Precision.FLOAT64, 1, 0, MICRO.nHeads(), MICRO.dModel()));
      }
      try (Model model = Model.of(MICRO, weights)) {
        return PatchableModel.of(model, options);
      }
    }
  }

  /** Random tokens {@code [batch][seq]}. */
  public static long[][] tokens(int batch, int seq, long seed) {
    Random random = new Random(seed);
    long[][] tokens = new long[batch][seq];
    for (long[] row : tokens) {
      for (int i = 0; i < seq; i++) {
        row[i] = random.nextInt(CONFIG.dVocab());
      }
    }
    return tokens;
  }

  /** Random tokens as a tensor of the innermost scope. */
  public static Tensor tokenTensor(int batch, int seq, long seed) {
    return TensorArrays.of(tokens(batch, seq, seed), "tokens", TestDevice.NAME);
  }

  /** Prompt pairs of random tokens. */
  public static PromptPairBatch batch(int size, int seq, long seed) {
    return batch(tokens(size, seq, seed), tokens(size, seq, seed + 1), seed);
  }

  /** Prompt pairs of the given tokens. */
  public static PromptPairBatch batch(long[][] clean, long[][] corrupt, long seed) {
    int size = clean.length;
    List<PromptPair> pairs =
        java.util.stream.IntStream.range(0, size)
            .mapToObj(i -> new PromptPair("clean " + i, "corrupt " + i, List.of("a"), List.of("b")))
            .toList();
    return new PromptPairBatch(
        pairs, clean, corrupt, tokens(size, 1, seed + 2), tokens(size, 2, seed + 3));
  }

  /** Pairs of several batches as one batch, in which models pad the shorter ones. */
  public static PromptPairBatch together(List<PromptPairBatch> batches) {
    return new PromptPairBatch(
        batches.stream().flatMap(batch -> batch.pairs().stream()).toList(),
        rows(batches, PromptPairBatch::clean),
        rows(batches, PromptPairBatch::corrupt),
        rows(batches, PromptPairBatch::answers),
        rows(batches, PromptPairBatch::wrongAnswers));
  }

  private static long[][] rows(
      List<PromptPairBatch> batches, Function<PromptPairBatch, long[][]> part) {
    return batches.stream().flatMap(b -> Arrays.stream(part.apply(b))).toArray(long[][]::new);
  }

  /** A random circuit. */
  public static EdgeSet circuit(ModelGraph graph, double share, long seed) {
    Random random = new Random(seed);
    java.util.BitSet bits = new java.util.BitSet();
    for (int i = 0; i < graph.nEdges(); i++) {
      if (random.nextDouble() < share) {
        bits.set(i);
      }
    }
    return EdgeSet.ofIndices(graph, bits);
  }

  /** Gaussian values around a mean, in a tensor of the innermost scope. */
  public static Tensor randomTensor(
      Random random, Precision precision, double scale, double mean, long... shape) {
    int size = 1;
    for (long dim : shape) {
      size *= (int) dim;
    }
    double[] values = new double[size];
    for (int i = 0; i < size; i++) {
      values[i] = mean + scale * random.nextGaussian();
    }
    return TensorArrays.of(values, precision.scalarType(), TestDevice.NAME, shape);
  }
}
