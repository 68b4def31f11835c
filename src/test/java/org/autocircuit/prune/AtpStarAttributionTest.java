package org.autocircuit.prune;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.within;

import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.function.Predicate;
import org.autocircuit.NativeScope;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.RandomModels;
import org.autocircuit.TestDevice;
import org.autocircuit.TestModels;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.Edge;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Activation;
import org.autocircuit.model.BlockKind;
import org.autocircuit.model.Model;
import org.autocircuit.model.Norm;
import org.autocircuit.model.Precision;
import org.autocircuit.model.RotaryPositions;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.model.WeightShapes;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Corrected scores are exact if attention adds so little that its effect is linear. */
@ExtendWith(NativeScope.class)
class AtpStarAttributionTest {

  private static final int SEQ = 5;
  private static final double LITTLE = 1e-4;

  /** One block of attention alone. */
  private static TransformerConfig attentionOnly() {
    return TransformerConfig.builder()
        .nLayers(1)
        .dModel(16)
        .nHeads(4)
        .blockKind(BlockKind.ATTENTION_ONLY)
        .dVocab(31)
        .nCtx(12)
        .build();
  }

  /** Two blocks with all that leads to patterns elsewhere: groups, rotation. */
  private static TransformerConfig grouped() {
    return TransformerConfig.builder()
        .nLayers(2)
        .dModel(16)
        .nHeads(4)
        .nKeyValueHeads(2)
        .dHead(4)
        .dMlp(24)
        .dVocab(31)
        .nCtx(12)
        .norm(Norm.rmsNorm(1e-5))
        .rotary(RotaryPositions.halves(4))
        .activation(Activation.SILU)
        .gatedMlp(true)
        .build();
  }

  /** The last block's attention adds little. */
  private static PatchableModel open(TransformerConfig config, PatchableModelOptions options) {
    String last = "blocks.%s.attn.W_O".formatted(config.nLayers() - 1);
    Random random = new Random(3);
    Map<String, Tensor> weights = new TreeMap<>();
    new TreeMap<>(WeightShapes.of(config))
        .forEach(
            (name, shape) -> {
              long size = 1;
              for (long dimension : shape) {
                size *= dimension;
              }
              double[] values = RandomModels.normal(size, name.equals(last) ? LITTLE : 0.7, random);
              weights.put(name, TensorArrays.of(values, ScalarType.Double, TestDevice.NAME, shape));
            });
    try (Model model = Model.of(config, weights)) {
      return PatchableModel.of(model, options);
    }
  }

  private static List<PromptPairBatch> batches() {
    return List.of(TestModels.batch(3, SEQ, 10), TestModels.batch(2, SEQ, 20));
  }

  private static void assertExact(PatchableModel model, Predicate<Edge> edges) {
    List<Edge> some = model.graph().edges().stream().filter(edges).toList();
    PruneScores exact =
        EdgeActivationPatching.builder()
            .loss(GradFunction.LOGIT, AnswerFunction.AVG_DIFF)
            .edges(some)
            .build()
            .pruneScores(model, batches());
    PruneScores corrected = AtpStarAttribution.builder().build().pruneScores(model, batches());
    PruneScores plain = MaskGradient.builder().build().pruneScores(model, batches());
    double size = some.stream().mapToDouble(edge -> Math.abs(exact.get(edge))).max().orElseThrow();
    double plainError = 0;
    for (Edge edge : some) {
      assertThat(corrected.get(edge))
          .as("%s", edge)
          .isCloseTo(exact.get(edge), within(1e-3 * size));
      plainError = Math.max(plainError, Math.abs(plain.get(edge) - exact.get(edge)));
    }
    assertThat(plainError).isGreaterThan(0.1 * size);
    for (Edge edge : model.graph().edges()) {
      if (!isQueryOrKey(edge)) {
        assertThat(corrected.get(edge)).isCloseTo(plain.get(edge), within(1e-10));
      }
    }
  }

  private static boolean isQueryOrKey(Edge edge) {
    return edge.dest().moduleName().matches(".*hook_[qk]_input");
  }

  @Test
  void scoresOfQueriesAndKeysAreExactUpToThePattern() {
    try (PatchableModel model = open(attentionOnly(), PatchableModelOptions.defaults())) {
      assertExact(model, AtpStarAttributionTest::isQueryOrKey);
    }
  }

  @Test
  void positionsHaveScoresOfTheirOwn() {
    try (PatchableModel model =
        open(attentionOnly(), PatchableModelOptions.defaults().withSeqLen(SEQ))) {
      assertExact(model, AtpStarAttributionTest::isQueryOrKey);
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void groupsShareTheirKeys(boolean ungrouped) {
    PatchableModelOptions options = PatchableModelOptions.defaults();
    try (PatchableModel model =
        open(grouped(), ungrouped ? options.withUngroupKeyValues(true) : options)) {
      assertExact(
          model, edge -> isQueryOrKey(edge) && edge.dest().moduleName().startsWith("blocks.1."));
    }
  }

  /** Prompts that are padded have the scores that they have alone. */
  @Test
  void paddingIsNotSeen() {
    PromptPairBatch longer = TestModels.batch(2, SEQ + 2, 30);
    PromptPairBatch shorter = TestModels.batch(3, SEQ, 10);
    PruneAlgorithm algorithm = AtpStarAttribution.builder().build();
    try (PatchableModel model = open(grouped(), PatchableModelOptions.defaults())) {
      double[] alone = algorithm.pruneScores(model, List.of(longer, shorter)).toArray();
      double[] padded =
          algorithm
              .pruneScores(model, List.of(TestModels.together(List.of(longer, shorter))))
              .toArray();
      assertThat(padded).containsExactly(alone, within(1e-10));
    }
  }

  @Test
  void oneInputForQueriesKeysAndValuesIsRefused() {
    try (PatchableModel model =
        TestModels.patchable(
            Precision.FLOAT64, PatchableModelOptions.defaults().withSeparateQkv(false))) {
      assertThatIllegalArgumentException()
          .isThrownBy(() -> AtpStarAttribution.builder().build().pruneScores(model, batches()))
          .withMessageContaining("separate queries, keys and values");
    }
  }
}
