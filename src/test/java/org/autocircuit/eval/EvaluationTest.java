package org.autocircuit.eval;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.known.KnownModel;
import org.autocircuit.known.KnownTask;
import org.autocircuit.model.Model;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.PatchType;
import org.autocircuit.prune.EdgeActivationPatching;
import org.autocircuit.prune.GroundTruthPruneScores;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.RandomPruneScores;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Circuits of a model whose circuit is known, measured prompt by prompt. */
class EvaluationTest {

  private static final KnownModel KNOWN = KnownModel.of(KnownTask.INDUCTION, false);
  private static final PromptMetric LOGITS = PromptMetric.answerDifference(AnswerScale.LOGIT);
  private static final Evaluation EVALUATION = Evaluation.of(LOGITS);

  private static PatchableModel model;
  private static EdgeSet truth;

  @BeforeAll
  static void open() {
    try (Model plain = KNOWN.model()) {
      model = PatchableModel.of(plain, PatchableModelOptions.defaults());
    }
    truth = KNOWN.truth(model.graph());
  }

  @AfterAll
  static void close() {
    model.close();
  }

  @Test
  void valuesAreThoseOfTheCircuitRuns() {
    List<PromptPairBatch> batches = KNOWN.batches(20);
    for (PatchType type : PatchType.values()) {
      for (PatchDirection direction : PatchDirection.values()) {
        PruneScores scores = RandomPruneScores.of(model.graph(), 3);
        boolean onClean = direction == PatchDirection.NOISING;
        Map<Integer, CircuitMeasures> expected =
            CircuitRuns.builder(scores)
                .sizes(List.of(7, 30))
                .patchType(type)
                .reverseCleanCorrupt((type == PatchType.TREE_PATCH) != onClean)
                .build()
                .measure(model, batches);
        Evaluation evaluation = EVALUATION.withPatchType(type).withDirection(direction);
        for (int size : expected.keySet()) {
          PromptValues values = evaluation.measure(model, batches, scores.circuit(size));
          assertThat(values.mean())
              .as("%s", values)
              .isEqualTo(expected.get(size).logitDifference(), within(1e-9));
          assertThat(values.conditions())
              .isEqualTo(
                  new Conditions("logit difference", type, BatchAblation.RESAMPLE, direction, 48));
        }
      }
    }
  }

  @Test
  void eachPromptHasItsOwnValueWhateverTheBatches() {
    PromptValues whole = EVALUATION.measure(model, KNOWN.batches(48), truth);
    PromptValues parts = EVALUATION.measure(model, KNOWN.batches(7), truth);
    assertThat(whole.toArray()).hasSize(48).containsExactly(parts.toArray(), within(1e-5));
    Logits full = CircuitPasses.fullModel(model, KNOWN.batches(48).get(0).clean());
    PromptValues all = EVALUATION.measure(model, KNOWN.batches(48), EdgeSet.all(model.graph()));
    assertThat(all.toArray())
        .containsExactly(LOGITS.values(full, KNOWN.batches(48).get(0)), within(1e-5));
    double mean = Arrays.stream(whole.toArray()).average().orElseThrow();
    assertThat(whole.mean()).isEqualTo(mean);
    double squares =
        Arrays.stream(whole.toArray()).map(v -> (v - mean) * (v - mean)).sum() / 47 / 48;
    assertThat(whole.standardError()).isEqualTo(Math.sqrt(squares), within(1e-12));
    assertThat(whole.toString())
        .contains(
            "logit difference of 48 prompts; all but the circuit patched, ablation resample,"
                + " noising");
  }

  @Test
  void theTrueCircuitDoesTheTaskAndTheEmptyOneTheOther() {
    List<PromptPairBatch> batches = KNOWN.batches(48);
    double full = EVALUATION.measure(model, batches, EdgeSet.all(model.graph())).mean();
    assertThat(EVALUATION.measure(model, batches, truth).mean()).isEqualTo(full, within(1e-4));
    double empty = EVALUATION.measure(model, batches, EdgeSet.none(model.graph())).mean();
    assertThat(empty).isLessThan(-3);
    // The other way round the circuit is what brings the corrupt prompts' answers.
    Evaluation denoising = EVALUATION.withDirection(PatchDirection.DENOISING);
    assertThat(denoising.measure(model, batches, truth).mean()).isLessThan(-3);
    assertThat(denoising.withPatchType(PatchType.EDGE_PATCH).measure(model, batches, truth).mean())
        .isEqualTo(full, within(1e-4));
    assertThat(EVALUATION.withAblation(BatchAblation.ZERO).measure(model, batches, truth).mean())
        .isNotCloseTo(full, within(1e-3));
  }

  @Test
  void faithfulnessByHand() {
    List<PromptPairBatch> batches = KNOWN.batches(48);
    PruneScores exact = EdgeActivationPatching.builder().build().pruneScores(model, batches);
    FaithfulnessCurve curve = FaithfulnessCurve.measure(EVALUATION, model, batches, exact, true);
    int n = model.graph().nEdges();
    assertThat(curve.points())
        .extracting(point -> point.values().edges())
        .containsExactly(0, 0, 0, 0, 1, 2, 5, 10, n / 2, n);
    double[] f = new double[10];
    for (int i = 0; i < f.length; i++) {
      double value = curve.points().get(i).values().mean();
      f[i] = (value - curve.empty().mean()) / (curve.full().mean() - curve.empty().mean());
      assertThat(curve.points().get(i).faithfulness()).isEqualTo(f[i], within(1e-12));
    }
    assertThat(f).startsWith(0, 0, 0, 0);
    // Five edges are the circuit, so from there on the circuits are faithful.
    for (int i = 6; i < 10; i++) {
      assertThat(f[i]).isEqualTo(1, within(1e-4));
    }
    double ratio = 0;
    double distance = 0;
    for (int i = 1; i < 10; i++) {
      double width = FaithfulnessCurve.SHARES.get(i) - FaithfulnessCurve.SHARES.get(i - 1);
      ratio += width * (f[i] + f[i - 1]) / 2;
      distance += width * (Math.abs(1 - f[i]) + Math.abs(1 - f[i - 1])) / 2;
    }
    assertThat(curve.performanceRatio()).isEqualTo(ratio, within(1e-12)).isGreaterThan(0.9);
    assertThat(curve.modelDistance()).isEqualTo(distance, within(1e-12)).isLessThan(0.08);
    assertThat(curve.toString()).contains("noising", "signed ranking", "f = 1.0000", "48 prompts");
    FaithfulnessCurve random =
        FaithfulnessCurve.measure(
            EVALUATION, model, batches, RandomPruneScores.of(model.graph(), 1), false);
    assertThat(random.performanceRatio()).isLessThan(curve.performanceRatio() - 0.1);
    assertThat(random.modelDistance()).isGreaterThan(curve.modelDistance() + 0.1);
  }

  /**
   * From 0.001 to 1 a circuit that does twice what the model does is as far away as an empty one.
   */
  @Test
  void tooMuchIsAsFarFromTheModelAsTooLittle() {
    PromptValues any = EVALUATION.measure(model, KNOWN.batches(48), truth);
    CircuitMeasures measures = CircuitMeasures.ofModel(model, KNOWN.batches(48));
    for (double faithfulness : new double[] {0, 2}) {
      List<FaithfulnessCurve.Point> points =
          FaithfulnessCurve.SHARES.stream()
              .map(share -> new FaithfulnessCurve.Point(share, any, faithfulness, measures))
              .toList();
      FaithfulnessCurve curve = new FaithfulnessCurve(false, any, any, points);
      assertThat(curve.modelDistance()).isEqualTo(0.999, within(1e-12));
      assertThat(curve.performanceRatio()).isEqualTo(0.999 * faithfulness, within(1e-12));
    }
  }

  /** One pass gives the metric and the measures, which are those of runs of their own. */
  @Test
  void pointsHaveTheMeasuresOfTheirCircuits() {
    PruneScores scores = RandomPruneScores.of(model.graph(), 3);
    List<PromptPairBatch> batches = KNOWN.batches(20);
    for (PatchDirection direction : PatchDirection.values()) {
      FaithfulnessCurve curve =
          FaithfulnessCurve.measure(
              EVALUATION.withDirection(direction), model, batches, scores, false);
      FaithfulnessCurve.Point point = curve.points().get(8);
      int size = point.values().edges();
      assertThat(point.measures())
          .isEqualTo(
              CircuitRuns.builder(scores)
                  .sizes(List.of(size))
                  .patchType(PatchType.TREE_PATCH)
                  .reverseCleanCorrupt(direction == PatchDirection.DENOISING)
                  .build()
                  .measure(model, batches)
                  .get(size));
    }
  }

  /** Prompts that pull the difference both ways leave nothing to take a share of. */
  @Test
  void aDifferenceIsClearOrNoise() {
    List<PromptPairBatch> batches = KNOWN.batches(48);
    PruneScores scores = RandomPruneScores.of(model.graph(), 3);
    FaithfulnessCurve curve = FaithfulnessCurve.measure(EVALUATION, model, batches, scores, false);
    assertThat(curve.range().isClear()).isTrue();
    assertThat(curve.range().value())
        .isEqualTo(curve.full().mean() - curve.empty().mean(), within(1e-9));
    double[] full = curve.full().toArray();
    double[] empty = curve.empty().toArray();
    double squares = 0;
    for (int i = 0; i < 48; i++) {
      squares += Math.pow(full[i] - empty[i] - curve.range().value(), 2);
    }
    assertThat(curve.range().standardError()).isEqualTo(Math.sqrt(squares / 47 / 48), within(1e-9));
    assertThat(curve.full().minus(curve.full()).isClear()).isFalse();

    assertThat(new MeanDifference(1.9, 1).isClear()).isFalse();
    assertThat(new MeanDifference(-2, 1).isClear()).isTrue();
    assertThat(new MeanDifference(1e-9, Double.NaN).isClear()).isTrue();
    assertThat(new MeanDifference(0, Double.NaN).isClear()).isFalse();
    assertThat(new MeanDifference(0.5, 0.25)).hasToString("0.5000 ± 0.2500");
    PromptValues other = EVALUATION.measure(model, KNOWN.batches(48).subList(0, 1), truth);
    PromptValues prob =
        Evaluation.of(PromptMetric.answerDifference(AnswerScale.PROBABILITY))
            .measure(model, batches, truth);
    assertThatThrownBy(() -> prob.minus(other)).hasMessageContaining("the same conditions");
  }

  @Test
  void progressCountsPasses() {
    List<String> told = new ArrayList<>();
    EVALUATION
        .withProgress((done, total) -> told.add(done + "/" + total))
        .withDirection(PatchDirection.DENOISING)
        .measure(model, KNOWN.batches(24), List.of(truth, EdgeSet.none(model.graph())));
    assertThat(told).containsExactly("1/4", "2/4", "3/4", "4/4");
  }

  /** Against the answer: signed ranking leaves such edges out, absolute ranking takes them. */
  @Test
  void rankingIsSignedOrAbsolute() {
    double[] values = GroundTruthPruneScores.of(model.graph(), truth.edges()).toArray();
    Arrays.setAll(values, i -> -values[i]);
    PruneScores against = PruneScores.of(model.graph(), values);
    List<PromptPairBatch> batches = KNOWN.batches(48);
    FaithfulnessCurve signed = FaithfulnessCurve.measure(EVALUATION, model, batches, against, true);
    FaithfulnessCurve absolute =
        FaithfulnessCurve.measure(EVALUATION, model, batches, against, false);
    assertThat(signed.points().get(8).faithfulness()).isLessThan(0.1);
    assertThat(absolute.points().get(8).faithfulness()).isEqualTo(1, within(1e-4));
  }

  @Test
  void promptsThatSayNothingAreRefused() {
    Evaluation constant =
        Evaluation.of(PromptMetric.named("constant", (logits, batch) -> new double[batch.size()]));
    assertThatIllegalArgumentException()
        .isThrownBy(
            () ->
                FaithfulnessCurve.measure(
                    constant,
                    model,
                    KNOWN.batches(48),
                    RandomPruneScores.of(model.graph(), 1),
                    true))
        .withMessageContaining("say nothing");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> EVALUATION.measure(model, List.of(), truth));
  }

  @Test
  void aCircuitThatLacksSomethingIsNotEquivalent() {
    List<PromptPairBatch> batches = KNOWN.batches(48);
    PromptValues full = EVALUATION.measure(model, batches, EdgeSet.all(model.graph()));
    EdgeSet part = EdgeSet.ofNames(model.graph(), List.of("A1.0->Resid End"));
    CircuitEquivalence lacks =
        CircuitEquivalence.of(EVALUATION.measure(model, batches, part), full, 0.1);
    assertThat(lacks.worse()).isGreaterThan(40);
    assertThat(lacks.pValue()).isLessThan(1e-4);
    CircuitEquivalence same = CircuitEquivalence.of(full, full, 0.1);
    assertThat(same.equal()).isEqualTo(48);
    assertThat(same.pValue()).isEqualTo(1);
    PromptValues other = EVALUATION.withAblation(BatchAblation.ZERO).measure(model, batches, part);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> CircuitEquivalence.of(other, full, 0.1))
        .withMessageContaining("same conditions");
    assertThatIllegalArgumentException().isThrownBy(() -> CircuitEquivalence.of(full, full, 0.5));
  }

  /** Two of three prompts better: all of 0, 1, 2, 3 are as far from 1/2 or farther. */
  @Test
  void pValuesByHand() {
    assertThat(equivalence(0.1, 1, 1, -1).pValue()).isEqualTo(1, within(1e-12));
    // All of three: 0 or 3 of 3, 0.6³ + 0.4³.
    assertThat(equivalence(0.1, 1, 2, 3, 0).pValue()).isEqualTo(0.28, within(1e-12));
    assertThat(equivalence(0, 1, 2, 3, 4).pValue()).isEqualTo(2 / 16.0, within(1e-12));
    assertThat(equivalence(0.1, 1, 2, 3, 0).equal()).isEqualTo(1);
    assertThat(Binomial.probability(100, 0.9, k -> k <= 80)).isEqualTo(0.001979, within(1e-6));
  }

  private static CircuitEquivalence equivalence(double epsilon, double... differences) {
    Conditions conditions =
        new Conditions(
            "x",
            PatchType.TREE_PATCH,
            BatchAblation.RESAMPLE,
            PatchDirection.NOISING,
            differences.length);
    return CircuitEquivalence.of(
        new PromptValues(conditions, 1, differences),
        new PromptValues(conditions, 2, new double[differences.length]),
        epsilon);
  }

  @Test
  void theTrueCircuitIsMinimalAndALargerOneIsNot() {
    List<PromptPairBatch> batches = KNOWN.batches(48);
    CircuitMinimality minimal = CircuitMinimality.measure(EVALUATION, model, batches, truth, 7);
    assertThat(minimal.edges()).hasSize(5).allMatch(test -> test.effect() > 0.1);
    assertThat(minimal.edges()).allMatch(test -> test.greaterThan() == 1 && test.pValue() == 1);
    assertThat(minimal.isRejected(0.05)).isFalse();
    EdgeSet larger =
        EdgeSet.of(
            model.graph(),
            IntStream.concat(
                    truth.indices(),
                    IntStream.of(
                        model.graph().index("Resid Start->A0.1.V"),
                        model.graph().index("A0.1->Resid End")))
                .toArray());
    CircuitMinimality rejected =
        CircuitMinimality.measure(EVALUATION, model, batches, larger, 40, 0.9, 7);
    assertThat(rejected.isRejected(0.05)).as("%s", rejected).isTrue();
    assertThat(rejected.edges())
        .filteredOn(test -> test.pValue() < 1e-3)
        .extracting(test -> test.edge().name())
        .containsExactlyInAnyOrder("Resid Start->A0.1.V", "A0.1->Resid End");
    assertThat(rejected.toString()).contains("noising", "48 prompts", "p = ");
    assertThat(CircuitMinimality.measure(EVALUATION, model, batches, larger, 40, 0.9, 7))
        .isEqualTo(rejected);
    assertThatIllegalArgumentException()
        .isThrownBy(
            () ->
                CircuitMinimality.measure(
                    EVALUATION, model, batches, EdgeSet.none(model.graph()), 7));
  }
}
