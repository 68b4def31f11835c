package org.autocircuit.known;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.stream.IntStream;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.eval.CircuitMeasures;
import org.autocircuit.eval.RocCurve;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.Model;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.prune.Acdc;
import org.autocircuit.prune.AtpStarAttribution;
import org.autocircuit.prune.EdgeActivationPatching;
import org.autocircuit.prune.MaskGradient;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.SubnetworkProbing;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The hand-written models do their tasks, by the edges that they were given, and by no others. */
class KnownModelTest {

  /** The least effect of a true edge, in logits; that of any other is rounding. */
  private static final double LEAST_EFFECT = 1e-2;

  static List<KnownModel> models() {
    return KnownModel.all();
  }

  static List<KnownModel> soft() {
    return models().stream().filter(known -> !known.isSaturated()).toList();
  }

  static List<KnownModel> saturated() {
    return models().stream().filter(KnownModel::isSaturated).toList();
  }

  @ParameterizedTest
  @MethodSource("models")
  void doesItsTaskOnCleanAndCorruptPrompts(KnownModel known) {
    try (PatchableModel model = open(known)) {
      CircuitMeasures clean = CircuitMeasures.ofModel(model, known.batches(known.prompts()));
      assertThat(clean.accuracy()).as("%s: %s", known, clean).isEqualTo(1);
      List<PromptPairBatch> swapped =
          known.batches(10).stream()
              .map(
                  b ->
                      new PromptPairBatch(
                          b.pairs(),
                          /* clean= */ b.corrupt(),
                          /* corrupt= */ b.clean(),
                          /* answers= */ b.wrongAnswers(),
                          /* wrongAnswers= */ b.answers()))
              .toList();
      assertThat(CircuitMeasures.ofModel(model, swapped).accuracy()).as("%s", known).isEqualTo(1);
      assertThat(clean.logitDifference()).isLessThan(8.0001);
    }
  }

  @ParameterizedTest
  @MethodSource("models")
  void theEdgesOfTheCircuitAreThoseWithAnEffect(KnownModel known) {
    try (PatchableModel model = open(known)) {
      ModelGraph graph = model.graph();
      PruneScores exact = exact(model, known);
      EdgeSet withEffect =
          EdgeSet.of(
              graph,
              IntStream.range(0, graph.nEdges())
                  .filter(i -> Math.abs(exact.get(i)) > LEAST_EFFECT)
                  .toArray());
      assertThat(withEffect.edges())
          .as("%s", known)
          .containsExactlyInAnyOrderElementsOf(known.truth(graph).edges());
      withEffect
          .complement()
          .indices()
          .forEach(
              i -> assertThat(exact.get(i)).as("%s", graph.edge(i)).isCloseTo(0, within(1e-4)));
      assertThat(known.truth(graph).size()).isEqualTo(known.edges().size()).isGreaterThan(3);
      assertThat(area(exact, known)).isEqualTo(1);
    }
  }

  @ParameterizedTest
  @MethodSource("soft")
  void gradientsFindTheWholeSoftCircuit(KnownModel known) {
    try (PatchableModel model = open(known)) {
      List<PromptPairBatch> batches = known.batches(known.prompts());
      assertThat(area(MaskGradient.builder().build().pruneScores(model, batches), known))
          .as("attribution, %s", known)
          .isEqualTo(1);
      assertThat(
              area(
                  MaskGradient.builder()
                      .integratedGradSamples(5)
                      .build()
                      .pruneScores(model, batches),
                  known))
          .as("integrated gradients, %s", known)
          .isEqualTo(1);
    }
  }

  @ParameterizedTest
  @MethodSource("saturated")
  void gradientsMissEdgesOfTheSaturatedCircuit(KnownModel known) {
    try (PatchableModel model = open(known)) {
      List<PromptPairBatch> batches = known.batches(known.prompts());
      PruneScores attribution = MaskGradient.builder().build().pruneScores(model, batches);
      assertThat(area(attribution, known)).as("%s", known).isLessThan(0.95);
      Set<String> missed =
          Set.of("Resid Start->A0.0.K", "Resid Start->A1.0.Q", "Resid Start->A0.0.Q");
      List<String> zero = new ArrayList<>(known.edges());
      zero.removeIf(edge -> attribution.get(edge) != 0);
      assertThat(zero).as("%s", known).isNotEmpty().isSubsetOf(missed);
      PruneScores exact = exact(model, known);
      assertThat(zero).allMatch(edge -> Math.abs(exact.get(edge)) > LEAST_EFFECT);
    }
  }

  /** AtP* computes the softmax afresh, so that it does not matter whether it is saturated. */
  @ParameterizedTest
  @MethodSource("models")
  void correctedQueriesAndKeysFindTheWholeCircuit(KnownModel known) {
    try (PatchableModel model = open(known)) {
      PruneScores scores =
          AtpStarAttribution.builder().build().pruneScores(model, known.batches(known.prompts()));
      assertThat(area(scores, known)).as("%s", known).isEqualTo(1);
    }
  }

  @ParameterizedTest
  @MethodSource("models")
  void acdcFindsTheWholeCircuit(KnownModel known) {
    try (PatchableModel model = open(known)) {
      PromptPairBatch all = known.batches(known.prompts()).get(0);
      PruneScores scores =
          Acdc.builder().thresholds(1e-5, 1e-4, 1e-3).build().search(model, all).scores();
      assertThat(area(scores, known)).as("%s", known).isEqualTo(1);
    }
  }

  /** The start near the empty circuit asks for a lambda below what the circuit is worth. */
  @ParameterizedTest
  @MethodSource("soft")
  void trainedMasksFindTheWholeSoftCircuit(KnownModel known) {
    try (PatchableModel model = open(known)) {
      for (int seed = 0; seed < 3; seed++) {
        assertThat(area(probing(seed).regularizeLambda(1), model, known))
            .as("%s, seed %s", known, seed)
            .isEqualTo(1);
        assertThat(area(probing(seed).initialValue(-Math.log(5)), model, known))
            .as("from the full model, %s, seed %s", known, seed)
            .isEqualTo(1);
      }
    }
  }

  private static double area(
      SubnetworkProbing.Builder probing, PatchableModel model, KnownModel known) {
    return area(probing.build().pruneScores(model, known.batches(known.prompts())), known);
  }

  private static SubnetworkProbing.Builder probing(long seed) {
    return SubnetworkProbing.builder().ablation(BatchAblation.RESAMPLE).epochs(40).seed(seed);
  }

  @Test
  void isTheSameEveryTime() {
    KnownModel one = KnownModel.of(KnownTask.REVERSE, false);
    KnownModel other = KnownModel.of(KnownTask.REVERSE, true);
    assertThat(one.batches(48).get(0).key()).isEqualTo(other.batches(48).get(0).key());
    assertThat(one.batches(7)).hasSize(7).last().matches(batch -> batch.size() == 6);
    assertThat(one.batches(48).get(0).pairs().get(0).toString()).contains("|");
    assertThat(one).hasToString("reverse (soft)");
    assertThat(other).hasToString("reverse (saturated)");
  }

  @Test
  void refusesOtherGraphs() {
    KnownModel known = KnownModel.of(KnownTask.INDUCTION, false);
    try (Model model = known.model();
        PatchableModel joint =
            PatchableModel.of(model, PatchableModelOptions.defaults().withSeparateQkv(false))) {
      assertThatIllegalArgumentException()
          .isThrownBy(() -> known.truth(joint.graph()))
          .withMessageContaining("separate queries");
    }
    assertThatIllegalArgumentException().isThrownBy(() -> known.batches(0));
  }

  private static PruneScores exact(PatchableModel model, KnownModel known) {
    return EdgeActivationPatching.builder()
        .loss(GradFunction.LOGIT, AnswerFunction.AVG_DIFF)
        .build()
        .pruneScores(model, known.batches(known.prompts()));
  }

  private static double area(PruneScores scores, KnownModel known) {
    return RocCurve.of(scores, known.truth(scores.graph())).area();
  }

  private static PatchableModel open(KnownModel known) {
    try (Model model = known.model()) {
      return PatchableModel.of(model, PatchableModelOptions.defaults());
    }
  }
}
