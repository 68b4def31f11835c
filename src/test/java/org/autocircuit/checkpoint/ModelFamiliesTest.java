package org.autocircuit.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.autocircuit.NativeScope;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.BlockKind;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ForwardResult;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Every family's folders against forward passes written from the families' own formulas. */
@ExtendWith(NativeScope.class)
@Tag("slow")
class ModelFamiliesTest {

  private static final PatchableModelOptions OPTIONS =
      PatchableModelOptions.defaults().withOutputSlice(OutputSlice.ALL);

  @TempDir Path folder;

  static String[] names() {
    return FamilyModels.names();
  }

  private static Tensor tokens(long seed) {
    Random random = new Random(seed);
    long[][] tokens = new long[2][9];
    for (long[] row : tokens) {
      Arrays.setAll(row, i -> random.nextInt(FamilyModel.VOCAB));
    }
    return TensorArrays.of(tokens, "tokens", "cpu");
  }

  private static LoadOptions as(Precision precision) {
    return LoadOptions.DEFAULT.withPrecision(precision);
  }

  private Tensor logits(Precision precision, Tensor tokens) {
    try (PatchableModel model = PatchableModel.open(folder, as(precision), OPTIONS)) {
      return model.forward(tokens);
    }
  }

  private static void assertClose(Tensor actual, Tensor expected, double tolerance) {
    assertThat(actual.shape()).containsExactly(expected.shape());
    assertThat(TensorArrays.doubles(actual))
        .containsExactly(TensorArrays.doubles(expected), within(tolerance));
  }

  @ParameterizedTest
  @MethodSource("names")
  void logitsAreThoseOfTheFormulas(String name) {
    FamilyModel model = FamilyModels.named(name);
    Tensor expected = model.forward(tokens(1));
    assertThat(Arrays.stream(TensorArrays.doubles(expected)).map(Math::abs).max().orElse(0))
        .isGreaterThan(0.5);
    FamilyFolders.write(model, folder, SafetensorsType.F64);
    assertClose(logits(Precision.FLOAT64, tokens(1)), expected, 1e-9);
    FamilyFolders.write(model, folder, SafetensorsType.F32);
    assertClose(logits(Precision.FLOAT32, tokens(1)), expected, 1e-4);
  }

  @ParameterizedTest
  @MethodSource("names")
  void shardsHalfFloatsAndSavedFoldersGiveTheSame(String name) {
    FamilyModel model = FamilyModels.named(name);
    for (SafetensorsType type : List.of(SafetensorsType.BF16, SafetensorsType.F16)) {
      model.rounded(FamilyFolders.scalarType(type));
      Tensor expected = model.forward(tokens(2));
      Path sharded = folder.resolve(type.name());
      FamilyFolders.writeSharded(model, sharded, type, 4);
      try (Model loaded = Checkpoints.load(sharded, as(Precision.FLOAT64));
          PatchableModel patchable = PatchableModel.of(loaded, OPTIONS)) {
        assertClose(patchable.forward(tokens(2)), expected, 1e-9);
        Checkpoints.save(loaded, folder);
        assertThat(HuggingFaceConfig.read(folder).transformer()).isEqualTo(loaded.config());
      }
      assertClose(logits(Precision.FLOAT64, tokens(2)), expected, 1e-9);
    }
  }

  @ParameterizedTest
  @MethodSource("names")
  void sourcesAndBiasesSumToTheResidual(String name) {
    FamilyFolders.write(FamilyModels.named(name), folder, SafetensorsType.F64);
    try (PatchableModel model = PatchableModel.open(folder, as(Precision.FLOAT64), OPTIONS)) {
      TransformerConfig config = (TransformerConfig) model.config();
      List<String> reads = new ArrayList<>();
      for (int block = 0; block < config.nLayers(); block++) {
        reads.add("blocks." + block + ".hook_resid_pre");
        if (config.blockKind() == BlockKind.SEQUENTIAL) {
          reads.add("blocks." + block + ".hook_resid_mid");
        }
        reads.add("blocks." + block + ".hook_resid_post");
      }
      ForwardResult result =
          model.forward(ForwardRequest.of(tokens(3)).withSourceOutputs().withReads(reads));
      Tensor sources = result.sourceOutputs().orElseThrow();
      assertThat(sources.size(0)).isEqualTo(1 + config.nLayers() * (config.nHeads() + 1L));
      Tensor residual = sources.select(0, 0);
      int next = 1;
      for (int block = 0; block < config.nLayers(); block++) {
        assertClose(result.reads().get("blocks." + block + ".hook_resid_pre"), residual, 1e-12);
        for (int head = 0; head < config.nHeads(); head++) {
          residual = residual.add(sources.select(0, next++));
        }
        Tensor bias = model.weights().get("blocks." + block + ".attn.b_O");
        if (bias != null) {
          residual = residual.add(bias);
        }
        if (config.blockKind() == BlockKind.SEQUENTIAL) {
          assertClose(result.reads().get("blocks." + block + ".hook_resid_mid"), residual, 1e-12);
        }
        residual = residual.add(sources.select(0, next++));
        assertClose(result.reads().get("blocks." + block + ".hook_resid_post"), residual, 1e-12);
      }
    }
  }

  /** Every kind of graph that a family's models have. */
  private static List<PatchableModelOptions> graphs(TransformerConfig config) {
    List<PatchableModelOptions> graphs = new ArrayList<>(List.of(OPTIONS));
    if (config.groupedQueries()) {
      graphs.add(OPTIONS.withUngroupKeyValues(true));
    }
    graphs.add(OPTIONS.withSeparateQkv(false));
    if (config.blockKind() == BlockKind.SEQUENTIAL) {
      graphs.add(OPTIONS.withFactorized(false));
    }
    return graphs;
  }

  @ParameterizedTest
  @MethodSource("names")
  void masksOfOneGiveThePatchRun(String name) {
    FamilyFolders.write(FamilyModels.named(name), folder, SafetensorsType.F64);
    try (Model loaded = Checkpoints.load(folder, as(Precision.FLOAT64))) {
      for (PatchableModelOptions options : graphs((TransformerConfig) loaded.config())) {
        try (PatchableModel model = PatchableModel.of(loaded, options);
            SourceActivations patch = model.sourceAblations(tokens(5), BatchAblation.RESAMPLE)) {
          Tensor expected = model.forward(tokens(5));
          PatchContext all = PatchContext.of(patch, Masks.uniform(model.graph(), 1));
          assertClose(model.forward(tokens(4), all), expected, 1e-9);
          PatchContext none = PatchContext.of(patch, Masks.uniform(model.graph(), 0));
          assertClose(model.forward(tokens(4), none), model.forward(tokens(4)), 1e-12);
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("names")
  void maskGradientsAreFiniteDifferences(String name) {
    FamilyFolders.write(FamilyModels.named(name), folder, SafetensorsType.F64);
    AnswerLoss loss =
        AnswerLoss.of(
            AnswerLoss.GradFunction.LOGPROB,
            AnswerLoss.AnswerFunction.AVG_DIFF,
            new long[][] {{1}, {2}},
            new long[][] {{3}, {4}});
    try (PatchableModel model = PatchableModel.open(folder, as(Precision.FLOAT64), OPTIONS);
        SourceActivations patch = model.sourceAblations(tokens(7), BatchAblation.RESAMPLE)) {
      Random random = new Random(8);
      double[] masks = random.doubles(model.graph().nEdges()).toArray();
      double[] gradient =
          TensorArrays.doubles(
              model
                  .maskGradient(
                      tokens(6), PatchContext.of(patch, Masks.of(model.graph(), masks)), loss)
                  .gradient());
      for (int i = 0; i < 5; i++) {
        int edge = random.nextInt(masks.length);
        double difference = 0;
        for (int side : new int[] {1, -1}) {
          double[] moved = masks.clone();
          moved[edge] += side * 1e-4;
          PatchContext context = PatchContext.of(patch, Masks.of(model.graph(), moved));
          difference +=
              side * model.maskGradient(tokens(6), context, loss).loss().item_double() / 2e-4;
        }
        assertThat(gradient[edge]).isCloseTo(difference, within(1e-6));
      }
    }
  }

  @ParameterizedTest
  @MethodSource("names")
  void countsWeights(String name) {
    FamilyModel model = FamilyModels.named(name);
    FamilyFolders.write(model, folder, SafetensorsType.F32);
    long expected =
        model.tensors.entrySet().stream()
            .filter(tensor -> !tensor.getKey().endsWith("inv_freq"))
            .mapToLong(tensor -> tensor.getValue().numel())
            .sum();
    HuggingFaceConfig config = HuggingFaceConfig.read(folder);
    assertThat(config.nWeights()).isEqualTo(expected);
    config.write(folder);
    assertThat(HuggingFaceConfig.read(folder)).isEqualTo(config);
  }

  @Test
  void aNormThatServesTwiceIsOneTensor() {
    FamilyFolders.write(FamilyModels.named("gptj"), folder, SafetensorsType.F32);
    try (Model model = Checkpoints.load(folder)) {
      var weights = model.weights();
      assertThat(weights.get("blocks.1.ln1.w").is_same(weights.get("blocks.1.ln2.w"))).isTrue();
      assertThat(model.tiedEmbedding()).isFalse();
    }
  }
}
