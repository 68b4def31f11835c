package org.autocircuit.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.Stream;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.TestDevice;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Activation;
import org.autocircuit.model.AttentionScores;
import org.autocircuit.model.Biases;
import org.autocircuit.model.BlockKind;
import org.autocircuit.model.Model;
import org.autocircuit.model.Norm;
import org.autocircuit.model.RotaryPositions;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.model.TransformerLensWeights;
import org.autocircuit.model.WeightShapes;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Random models of every kind in double precision: what their graphs promise holds. */
public class TransformerKindsTest {

  private static final double EXACT = 1e-9;

  private static TransformerConfig.Builder small() {
    return TransformerConfig.builder()
        .nLayers(3)
        .dModel(12)
        .nHeads(4)
        .dHead(4)
        .dMlp(20)
        .dVocab(17)
        .nCtx(10);
  }

  private static TransformerConfig.Builder llama() {
    return small()
        .nKeyValueHeads(2)
        .norm(Norm.rmsNorm(1e-6))
        .rotary(RotaryPositions.halves(4))
        .activation(Activation.SILU)
        .gatedMlp(true)
        .biases(Biases.NONE);
  }

  static Stream<TransformerConfig> kinds() {
    return Stream.of(
        small().build(),
        small().norm(Norm.layerNorm(1e-5).withoutWeights()).activation(Activation.RELU).build(),
        small().blockKind(BlockKind.ATTENTION_ONLY).build(),
        small()
            .blockKind(BlockKind.PARALLEL)
            .rotary(RotaryPositions.halves(2))
            .activation(Activation.GELU)
            .build(),
        small()
            .blockKind(BlockKind.PARALLEL)
            .rotary(RotaryPositions.adjacent(4).withScaling(new RotaryPositions.Linear(2)))
            .biases(Biases.MLP)
            .build(),
        llama().build(),
        llama()
            .rotary(RotaryPositions.halves(4).withScaling(new RotaryPositions.Llama3(8, 1, 4, 8)))
            .norm(Norm.rmsNorm(1e-6).withoutWeights())
            .build(),
        llama().biases(Biases.QKV).attentionScores(AttentionScores.PLAIN.withWindow(2)).build(),
        llama().nKeyValueHeads(1).attentionScores(AttentionScores.PLAIN.withQkNorm()).build(),
        llama()
            .norm(Norm.rmsNorm(1e-6).withWeightOffset(1))
            .postNorms(true)
            .activation(Activation.GELU_NEW)
            .attentionScores(AttentionScores.PLAIN.withScale(0.4).withSoftCap(2).withWindow(2, 2))
            .embedScale(3)
            .logitSoftCap(4)
            .build());
  }

  static Map<String, Tensor> randomWeights(TransformerConfig config) {
    Random random = new Random(5);
    Map<String, Tensor> weights = new LinkedHashMap<>();
    WeightShapes.of(config)
        .forEach(
            (name, shape) -> {
              int size = 1;
              for (long n : shape) {
                size *= Math.toIntExact(n);
              }
              double[] values = random.doubles(size).map(x -> x - 0.5).toArray();
              weights.put(name, TensorArrays.of(values, ScalarType.Double, TestDevice.NAME, shape));
            });
    return weights;
  }

  static List<PatchableModelOptions> graphs(TransformerConfig config) {
    PatchableModelOptions edges = PatchableModelOptions.defaults().withOutputSlice(OutputSlice.ALL);
    List<PatchableModelOptions> graphs =
        new ArrayList<>(
            List.of(
                edges,
                edges.withSeqLen(3),
                edges.withSeparateQkv(false),
                edges.withUngroupKeyValues(true)));
    if (config.blockKind() != BlockKind.PARALLEL) {
      graphs.add(edges.withFactorized(false));
    }
    return graphs;
  }

  @ParameterizedTest
  @MethodSource("kinds")
  void masksOfZeroAreTheCleanRunAndMasksOfOneTheCorruptRun(TransformerConfig config) {
    try (PointerScope scope = new PointerScope();
        Model model = Model.of(config, randomWeights(config))) {
      Tensor clean = TensorArrays.of(new long[] {1, 2, 3, 4, 5, 6}, TestDevice.NAME, 2, 3);
      Tensor corrupt = TensorArrays.of(new long[] {7, 8, 9, 10, 11, 12}, TestDevice.NAME, 2, 3);
      for (PatchableModelOptions options : graphs(config)) {
        try (PatchableModel patchable = PatchableModel.of(model, options);
            SourceActivations patches =
                patchable.sourceAblations(corrupt, BatchAblation.RESAMPLE)) {
          double[] plain = TensorArrays.doubles(patchable.forward(clean));
          assertThat(plain).hasSize(2 * 3 * config.dVocab());
          assertClose(forward(patchable, clean, patches, 0), plain);
          assertClose(
              forward(patchable, clean, patches, 1),
              TensorArrays.doubles(patchable.forward(corrupt)));
          assertThat(forward(patchable, clean, patches, 0.5)).isNotEqualTo(plain);
          try (PatchableModel again =
              PatchableModel.makeModelPatchable(
                  model, patchable.graph().graphEdges(), OutputSlice.ALL)) {
            assertThat(again.graph()).isEqualTo(patchable.graph());
          }
        }
      }
    }
  }

  private static double[] forward(
      PatchableModel model, Tensor input, SourceActivations patches, double mask) {
    PatchContext context = PatchContext.of(patches, Masks.uniform(model.graph(), mask));
    return TensorArrays.doubles(model.forward(input, context));
  }

  private static void assertClose(double[] actual, double[] expected) {
    assertThat(actual).containsExactly(expected, within(EXACT));
  }

  @Test
  void weightsMustBeThoseOfTheConfiguration() {
    try (PointerScope scope = new PointerScope()) {
      TransformerConfig config = llama().build();
      Map<String, Tensor> weights = randomWeights(config);
      assertThat(weights)
          .containsKeys("blocks.2.mlp.W_gate", "blocks.0.ln1.w")
          .doesNotContainKeys("pos_embed.W_pos", "blocks.0.ln1.b", "blocks.0.attn.b_QKV");
      TransformerConfig biased = llama().biases(Biases.QKV).build();
      assertThatIllegalArgumentException()
          .isThrownBy(() -> Model.of(biased, weights))
          .withMessageContaining("weight blocks.0.attn.b_QKV is missing, expected shape [32]");
      assertThatIllegalArgumentException()
          .isThrownBy(() -> Model.of(config, randomWeights(biased)))
          .withMessageContaining("has no weights [blocks.0.attn.b_QKV");
    }
  }

  @Test
  void transformerLensBiasesWithoutAPlaceMustBeZero() {
    try (PointerScope scope = new PointerScope()) {
      TransformerConfig config =
          llama().nLayers(1).blockKind(BlockKind.ATTENTION_ONLY).gatedMlp(false).build();
      Map<String, Tensor> weights = new LinkedHashMap<>();
      for (String name : List.of("embed.W_E", "blocks.0.ln1.w", "ln_final.w")) {
        weights.put(name, randomWeights(config).get(name));
      }
      weights.put("unembed.W_U", zeros(12, 17));
      weights.put("blocks.0.attn.W_Q", zeros(4, 12, 4));
      weights.put("blocks.0.attn.W_O", zeros(4, 4, 12));
      weights.put("blocks.0.attn._W_K", zeros(2, 12, 4));
      assertThatIllegalArgumentException()
          .isThrownBy(() -> TransformerLensWeights.toCanonical(config, weights))
          .withMessage("weight blocks.0.attn._W_V is missing");
      weights.put("blocks.0.attn._W_V", zeros(2, 12, 4));
      weights.put("blocks.0.attn._b_V", zeros(2, 4));
      assertThat(TransformerLensWeights.toCanonical(config, weights).get("blocks.0.attn.W_QKV"))
          .satisfies(qkv -> assertThat(qkv.shape()).containsExactly(12, 32));
      double[] one = {0, 0, 0, 0, 0, 0, 0, 1};
      weights.put(
          "blocks.0.attn._b_V", TensorArrays.of(one, ScalarType.Double, TestDevice.NAME, 2, 4));
      assertThatIllegalArgumentException()
          .isThrownBy(() -> TransformerLensWeights.toCanonical(config, weights))
          .withMessageContaining("blocks.0.attn._b_V is not zero");
    }
  }

  private static Tensor zeros(long... shape) {
    int size = 1;
    for (long n : shape) {
      size *= Math.toIntExact(n);
    }
    return TensorArrays.of(new double[size], ScalarType.Double, TestDevice.NAME, shape);
  }
}
