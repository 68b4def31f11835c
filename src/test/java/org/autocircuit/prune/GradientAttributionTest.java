package org.autocircuit.prune;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.TestModels;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.attribution.BackwardRules;
import org.autocircuit.attribution.PointAttribution;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.exception.NativeException;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class GradientAttributionTest {

  private final PatchableModel model =
      TestModels.patchable(Precision.FLOAT64, PatchableModelOptions.defaults());
  private final ModelGraph graph = model.graph();
  private final PromptPairBatch first = TestModels.batch(3, 5, 10);
  private final List<PromptPairBatch> batches = List.of(first, TestModels.batch(2, 5, 20));

  @AfterEach
  void close() {
    model.close();
  }

  private static double loss(PromptPairBatch batch, Tensor logits) {
    return AnswerLoss.of(
            GradFunction.LOGIT, AnswerFunction.AVG_DIFF, batch.answers(), batch.wrongAnswers())
        .loss(logits)
        .item_double();
  }

  private double plainLoss(PromptPairBatch batch, long[][] prompts) {
    try (PointerScope scope = new PointerScope()) {
      return loss(
          batch,
          model
              .forward(
                  ForwardRequest.of(prompts)
                      .withContext(PatchContext.NONE)
                      .withOutputSlice(OutputSlice.LAST_SEQ))
              .logits());
    }
  }

  /** The loss with all edges patched that begin at these sources. */
  private double lossPatched(PromptPairBatch batch, List<Edge> edges) {
    try (PointerScope scope = new PointerScope();
        SourceActivations corrupt =
            model.sourceAblations(batch.corrupt(), BatchAblation.RESAMPLE)) {
      return loss(
          batch,
          model
              .forward(
                  ForwardRequest.of(batch.clean())
                      .withContext(PatchContext.of(corrupt, Masks.ofEdges(graph, edges)))
                      .withOutputSlice(OutputSlice.LAST_SEQ))
              .logits());
    }
  }

  /**
   * Along the line from the clean to the corrupt embedding the loss changes by the integral of its
   * gradient times the difference, which reaches destinations through the embedding's edges.
   */
  @Test
  void scoresOfTheEmbeddingsEdgesAddUpToWhatTheCorruptInputDoes() {
    PruneScores scores =
        InputIntegratedGradients.builder().points(400).build().pruneScores(model, List.of(first));
    double sum =
        graph.edges().stream()
            .filter(edge -> edge.src().srcIdx() == 0)
            .mapToDouble(scores::get)
            .sum();
    double effect = plainLoss(first, first.corrupt()) - plainLoss(first, first.clean());
    assertThat(Math.abs(effect)).isGreaterThan(0.1);
    assertThat(sum).isCloseTo(effect, within(0.01 * Math.abs(effect) + 0.002));
  }

  /** The same for what patching all edges of a layer does, and the scores of these edges. */
  @Test
  void scoresOfALayersEdgesAddUpToWhatPatchingThemAllDoes() {
    PruneScores scores =
        ActivationIntegratedGradients.builder()
            .points(400)
            .build()
            .pruneScores(model, List.of(first));
    double clean = plainLoss(first, first.clean());
    List<String> layers = graph.srcModules().stream().map(m -> m.moduleName()).toList();
    assertThat(layers).hasSizeGreaterThan(3);
    for (String layer : layers) {
      List<Edge> edges =
          graph.edges().stream().filter(e -> e.src().moduleName().equals(layer)).toList();
      double sum = edges.stream().mapToDouble(scores::get).sum();
      double effect = lossPatched(first, edges) - clean;
      assertThat(sum).as(layer).isCloseTo(effect, within(0.01 * Math.abs(effect) + 0.002));
    }
  }

  /** One point at the clean prompt is plain attribution; the gradient at k = m is taken there. */
  @Test
  void onePointIsEdgeAttributionPatching() {
    double[] plain = MaskGradient.builder().build().pruneScores(model, batches).toArray();
    for (PruneAlgorithm one :
        List.of(
            InputIntegratedGradients.builder().points(1).build(),
            ActivationIntegratedGradients.builder().points(1).build())) {
      assertThat(one.pruneScores(model, batches).toArray()).containsExactly(plain, within(1e-10));
    }
  }

  @Test
  void gimGoesBackByOtherRulesThanTheDerivative() {
    PruneScores plain = MaskGradient.builder().build().pruneScores(model, batches);
    PruneScores same =
        GimAttribution.builder()
            .rules(BackwardRules.DERIVATIVE)
            .build()
            .pruneScores(model, batches);
    assertThat(same.toArray()).containsExactly(plain.toArray());
    PruneScores gim = GimAttribution.builder().build().pruneScores(model, batches);
    assertThat(gim.toArray()).isNotEqualTo(plain.toArray());
    PruneScores byHand =
        GimAttribution.builder()
            .rules(
                new BackwardRules(
                    /* frozenNorms= */ true,
                    /* softmaxTemperature= */ 2,
                    /* queriesAndKeys= */ 0.25,
                    /* values= */ 0.5,
                    /* gatedMlps= */ 0.5))
            .build()
            .pruneScores(model, batches);
    assertThat(byHand.toArray()).containsExactly(gim.toArray());
  }

  /** Nothing but the last norm is between the last values and the loss, and nothing before them. */
  @Test
  void eachRuleChangesItsOwnGradients() {
    double[] plain = scores(BackwardRules.DERIVATIVE);
    double[] values = scores(new BackwardRules(false, 1, 1, 0.5, 1));
    double[] queriesAndKeys = scores(new BackwardRules(false, 1, 0.25, 1, 1));
    double[] gated = scores(new BackwardRules(false, 1, 1, 1, 0.5));
    assertThat(gated).containsExactly(plain);
    for (Edge edge : graph.edges()) {
      int i = graph.index(edge);
      String dest = edge.dest().name();
      if (dest.startsWith("A1") && dest.endsWith("V")) {
        assertThat(values[i]).as(dest).isCloseTo(plain[i] / 2, within(1e-12));
        assertThat(queriesAndKeys[i]).as(dest).isCloseTo(plain[i], within(1e-12));
      } else if (dest.startsWith("A1")) {
        assertThat(values[i]).as(dest).isCloseTo(plain[i], within(1e-12));
        assertThat(queriesAndKeys[i]).as(dest).isCloseTo(plain[i] / 4, within(1e-12));
      }
    }
  }

  private double[] scores(BackwardRules rules) {
    return GimAttribution.builder().rules(rules).build().pruneScores(model, batches).toArray();
  }

  @Test
  void rulesThatAreNoNumbersAreRefused() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new BackwardRules(true, 0, 1, 1, 1))
        .withMessage("softmaxTemperature: expected a positive number, got 0.0");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new BackwardRules(true, 1, 1, Double.NaN, 1))
        .withMessage("values: expected a number, got NaN");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> GimAttribution.builder().memoryLimit(0).build())
        .withMessageContaining("memoryLimit");
  }

  @Test
  void cleanCorruptedIsTheMeanOfTwoAttributionsOfWhichOneGoesBack() {
    PromptPairBatch back =
        new PromptPairBatch(
            first.pairs(),
            /* clean= */ first.corrupt(),
            /* corrupt= */ first.clean(),
            first.answers(),
            first.wrongAnswers());
    PruneAlgorithm plain = MaskGradient.builder().build();
    double[] there = plain.pruneScores(model, List.of(first)).toArray();
    double[] andBack = plain.pruneScores(model, List.of(back)).toArray();
    double[] expected = new double[there.length];
    Arrays.setAll(expected, i -> (there[i] - andBack[i]) / 2);
    assertThat(
            CleanCorruptedAttribution.builder()
                .build()
                .pruneScores(model, List.of(first))
                .toArray())
        .containsExactly(expected, within(1e-10));
  }

  static Stream<PromptAlgorithm> algorithms() {
    return Stream.of(
        MaskGradient.builder().build(),
        MaskGradient.builder().integratedGradSamples(3).build(),
        MaskGradient.builder().memoryLimit(1L << 40).build(),
        MaskGradient.builder().ablation(BatchAblation.ZERO).build(),
        InputIntegratedGradients.builder().points(2).gradFunction(GradFunction.LOGPROB).build(),
        InputIntegratedGradients.builder().ablation(DatasetAblation.TOKENWISE_MEAN_CORRUPT).build(),
        ActivationIntegratedGradients.builder().points(2).build(),
        CleanCorruptedAttribution.builder().answerFunction(AnswerFunction.AVG_VAL).build(),
        AtpStarAttribution.builder().build(),
        AtpStarAttribution.builder().ablation(BatchAblation.ZERO).build(),
        GimAttribution.builder().build(),
        GimAttribution.builder().memoryLimit(1L << 40).gradFunction(GradFunction.PROB).build(),
        GimAttribution.builder().ablation(BatchAblation.BATCH_TOKENWISE_MEAN).build());
  }

  @ParameterizedTest
  @MethodSource("algorithms")
  void scoresAreMeansOfThoseOfEachPrompt(PromptAlgorithm algorithm) {
    List<double[]> each = new ArrayList<>();
    ScoreStatistics statistics = new ScoreStatistics(graph);
    algorithm.scorePrompts(
        model,
        batches,
        Progress.NONE,
        (pair, scores) -> {
          each.add(scores.clone());
          statistics.accept(pair, scores);
        });
    assertThat(each).hasSize(5);
    double[] all = algorithm.pruneScores(model, batches).toArray();
    assertThat(statistics.mean().toArray()).containsExactly(all, within(1e-10));
    PruneScores errors = statistics.standardError();
    for (int edge = 0; edge < all.length; edge += 7) {
      int at = edge;
      double mean = each.stream().mapToDouble(scores -> scores[at]).average().orElseThrow();
      double square = each.stream().mapToDouble(scores -> Math.pow(scores[at] - mean, 2)).sum() / 4;
      assertThat(errors.get(edge)).isCloseTo(Math.sqrt(square / 5), within(1e-10));
    }
    assertThat(algorithm.unit()).isNotBlank();
    assertThat(algorithm.name()).isNotBlank();
  }

  @ParameterizedTest
  @MethodSource("algorithms")
  void progressReachesItsTotal(PromptAlgorithm algorithm) {
    List<Long> done = new ArrayList<>();
    long[] last = {0};
    algorithm.pruneScores(
        model,
        batches,
        (n, total) -> {
          done.add(n);
          last[0] = total;
        });
    assertThat(done).isSorted().doesNotHaveDuplicates().endsWith(last[0]);
  }

  @Test
  void aPromptScoresAsItDoesAlone() {
    PromptAlgorithm algorithm = InputIntegratedGradients.builder().points(3).build();
    List<double[]> each = new ArrayList<>();
    algorithm.scorePrompts(
        model, List.of(first), Progress.NONE, (pair, scores) -> each.add(scores.clone()));
    for (int i = 0; i < 3; i++) {
      int prompt = i;
      PromptPairBatch alone =
          new PromptPairBatch(
              List.of(first.pairs().get(prompt)),
              new long[][] {first.clean()[prompt]},
              new long[][] {first.corrupt()[prompt]},
              new long[][] {first.answers()[prompt]},
              new long[][] {first.wrongAnswers()[prompt]});
      assertThat(algorithm.pruneScores(model, List.of(alone)).toArray())
          .containsExactly(each.get(prompt), within(1e-10));
    }
  }

  @Test
  void bootstrapIntervalsHoldTheMeanAndDependOnNoBatching() {
    PromptAlgorithm algorithm = MaskGradient.builder().build();
    BootstrapScores one = new BootstrapScores(graph, 400, 3, 1 << 30);
    BootstrapScores other = new BootstrapScores(graph, 400, 3, 1 << 30);
    algorithm.scorePrompts(model, batches, Progress.NONE, one);
    List<double[]> each = new ArrayList<>();
    algorithm.scorePrompts(
        model, batches, Progress.NONE, (pair, scores) -> each.add(scores.clone()));
    each.forEach(scores -> other.accept(null, scores));
    assertThat(one.quantile(0.025)).isEqualTo(other.quantile(0.025));
    double[] low = one.quantile(0.025).toArray();
    double[] high = one.quantile(0.975).toArray();
    double[] mean = algorithm.pruneScores(model, batches).toArray();
    assertThat(IntStream.range(0, mean.length))
        .allMatch(i -> low[i] <= mean[i] + 1e-12 && mean[i] <= high[i] + 1e-12);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new BootstrapScores(graph, 400, 3, 1000))
        .withMessageContaining("more than the limit of 1,000");
    assertThatIllegalArgumentException().isThrownBy(() -> one.quantile(1.5));
    assertThatThrownBy(() -> new BootstrapScores(graph, 4, 3, 1 << 30).quantile(0.5))
        .isInstanceOf(IllegalStateException.class);
  }

  /** Of 200 prompts with known spread, replicates spread as their mean does. */
  @Test
  void replicatesSpreadAsMeansDo() {
    BootstrapScores bootstrap = new BootstrapScores(graph, 2000, 1, 1L << 32);
    double[] scores = new double[graph.nEdges()];
    for (int prompt = 0; prompt < 200; prompt++) {
      Arrays.fill(scores, prompt % 2 == 0 ? 1 : -1);
      bootstrap.accept(null, scores);
    }
    double half = (bootstrap.quantile(0.975).get(0) - bootstrap.quantile(0.025).get(0)) / 2;
    assertThat(half).isCloseTo(1.96 / Math.sqrt(200), within(0.012));
  }

  @Test
  void pointsThatDoNotFitAreRefused() {
    try (PointerScope scope = new PointerScope();
        SourceActivations corrupt =
            model.sourceAblations(first.corrupt(), BatchAblation.RESAMPLE)) {
      ModelInput input = ModelInput.ofPrompts(first.clean(), model.device());
      AnswerLoss loss =
          AnswerLoss.of(
              GradFunction.LOGIT, AnswerFunction.AVG_DIFF, first.answers(), first.wrongAnswers());
      Tensor differences = corrupt.tensor();
      PointAttribution point = PointAttribution.of(input, differences, loss);
      Tensor added = differences.select(0, 0);
      assertThatIllegalArgumentException()
          .isThrownBy(() -> model.maskGradient(point.withAdded("blocks.0.hook_resid_prr", added)))
          .withMessageContaining("did you mean 'blocks.0.hook_resid_pre'?");
      assertThatIllegalArgumentException()
          .isThrownBy(
              () ->
                  model.maskGradient(
                      point.withAdded("blocks.0.hook_resid_pre", added.narrow(2, 0, 2))))
          .withMessageContaining("added at blocks.0.hook_resid_pre");
      assertThatThrownBy(() -> model.maskGradient(point.withAdded("blocks.0.attn.hook_z", added)))
          .isInstanceOf(NativeException.class)
          .hasMessageContaining("blocks.0.attn.hook_z");
      assertThatIllegalArgumentException()
          .isThrownBy(
              () ->
                  model.maskGradient(PointAttribution.of(input, differences.narrow(0, 0, 2), loss)))
          .withMessageContaining("differences");
      assertThatIllegalArgumentException()
          .isThrownBy(() -> InputIntegratedGradients.builder().points(0))
          .withMessage("points: expected 1 or more, got 0");
    }
  }
}
