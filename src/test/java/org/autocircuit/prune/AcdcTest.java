package org.autocircuit.prune;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.TestDevice;
import org.autocircuit.TestModels;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.eval.KlDivergence;
import org.autocircuit.eval.Logits;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.MicroModelConfig;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.pass.PrefixCache;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class AcdcTest {

  private static final double[] THRESHOLDS = {0.003, 0.03, 0.3, 0.01};

  /**
   * One block of the two heads {@code x -> w x}, w = (1, 1) and (0, 2), on clean (1, 2) and corrupt
   * (3, 2). The sources put out (1, 2), (1, 2), (0, 4) on the clean prompt, which adds up to (2,
   * 8), and (3, 2), (3, 2), (0, 4) on the corrupt one.
   */
  @Test
  void aModelWorkedOutByHand() {
    try (PointerScope scope = new PointerScope();
        Model weights =
            Model.of(
                new MicroModelConfig(1),
                Map.of(
                    "blocks.0.weights",
                    TensorArrays.of(
                        new double[] {1, 1, 0, 2}, ScalarType.Double, TestDevice.NAME, 2, 2)));
        PatchableModel model = PatchableModel.of(weights, PatchableModelOptions.defaults());
        SourceActivations corrupt = model.sourceAblations(input(3, 2), BatchAblation.RESAMPLE)) {
      Acdc.Builder builder =
          Acdc.builder().faithfulnessTarget(FaithfulnessTarget.MSE).thresholds(1, 5);
      List<Acdc.Decision> decisions = new ArrayList<>();
      PruneScores scores =
          builder
              .listener(decisions::add)
              .build()
              .search(model, ModelInput.of(input(1, 2)), corrupt)
              .scores();
      // Patched edges into the end move the first logit by 2 each, so the mean of squares goes
      // 0, 2, 8; patched into head 0 it moves by 2, which does not reach the end any more once
      // that head's edge is patched. Head 1 puts out the same on both prompts.
      assertThat(
              decisions.stream()
                  .map(d -> d.edge().name() + " " + d.divergence() + " " + d.removed()))
          .containsExactly(
              "Resid Start->Resid End 2.0 false",
              "B0.0->Resid End 2.0 false",
              "B0.1->Resid End 0.0 true",
              "Resid Start->B0.0 2.0 false",
              "Resid Start->B0.1 0.0 true",
              "Resid Start->Resid End 2.0 true",
              "B0.0->Resid End 8.0 false",
              "B0.1->Resid End 2.0 true",
              "Resid Start->B0.0 8.0 false",
              "Resid Start->B0.1 2.0 true");
      double inf = Double.POSITIVE_INFINITY;
      assertThat(scores.get(model.graph().index("Resid Start->Resid End"))).isEqualTo(5);
      assertThat(scores.get(model.graph().index("B0.0->Resid End"))).isEqualTo(inf);
      assertThat(scores.get(model.graph().index("B0.1->Resid End"))).isEqualTo(1);
      assertThat(scores.get(model.graph().index("Resid Start->B0.0"))).isEqualTo(inf);
      assertThat(scores.get(model.graph().index("Resid Start->B0.1"))).isEqualTo(1);
    }
  }

  @Test
  void circuitsAndScoresAreThoseOfTheDefinition() {
    double[] thresholds = {0.02, 0.003, 0.03, 0.01, 0.005};
    try (PatchableModel model = model(Precision.FLOAT64, OptionalInt.empty())) {
      PromptPairBatch batch = TestModels.batch(3, 5, 10);
      AcdcResult found = Acdc.builder().thresholds(thresholds).build().search(model, batch);
      assertThat(found.thresholds()).containsExactly(0.02, 0.003, 0.03, 0.01, 0.005);
      double[] scores = new double[model.graph().nEdges()];
      Arrays.fill(scores, Double.POSITIVE_INFINITY);
      long back = 0; // edges that a greater threshold leaves though a smaller one removed them
      for (double threshold : thresholds) {
        BitSet removed = removed(model, batch, threshold);
        assertThat(removed.cardinality()).isBetween(10, scores.length - 10);
        EdgeSet circuit = found.circuit(threshold);
        for (int edge = 0; edge < scores.length; edge++) {
          assertThat(circuit.contains(edge))
              .as("%s at %s", model.graph().edge(edge), threshold)
              .isEqualTo(!removed.get(edge));
        }
        back += circuit.indices().filter(edge -> scores[edge] < threshold).count();
        removed.stream().forEach(edge -> scores[edge] = Math.min(scores[edge], threshold));
      }
      assertThat(back).isPositive();
      assertThat(found.scores().toArray()).isEqualTo(scores);
    }
  }

  /** The algorithm in a few lines on the whole model, without caches. */
  private static BitSet removed(PatchableModel model, PromptPairBatch batch, double threshold) {
    BitSet removed = new BitSet();
    ModelGraph graph = model.graph();
    try (PointerScope scope = new PointerScope();
        SourceActivations corrupt =
            model.sourceAblations(batch.corrupt(), BatchAblation.RESAMPLE)) {
      Tensor tokens = TensorArrays.of(batch.clean(), "tokens", TestDevice.NAME);
      Logits clean = Logits.of(model.forward(tokens, PatchContext.NONE));
      double previous = 0;
      for (int layer = graph.dests().get(graph.dests().size() - 1).layer(); layer > 0; layer--) {
        for (int edge = 0; edge < graph.nEdges(); edge++) {
          if (graph.edge(edge).dest().layer() == layer) {
            removed.set(edge);
            Masks masks = Masks.ofEdges(EdgeSet.ofIndices(graph, removed));
            Logits logits = Logits.of(model.forward(tokens, PatchContext.of(corrupt, masks)));
            double divergence = KlDivergence.mean(logits, clean);
            if (divergence - previous < threshold) {
              previous = divergence;
            } else {
              removed.clear(edge);
            }
          }
        }
      }
    }
    return removed;
  }

  @Test
  void thresholdsOfAGridAreFoundAsTheyAreWritten() {
    try (PatchableModel model = TestModels.patchable()) {
      AcdcResult found =
          Acdc.builder()
              .thresholdGrid(new double[] {3, 9}, new int[] {-5, -1})
              .edgeOrder(List.of(model.graph().edge(0)))
              .build()
              .search(model, TestModels.batch(2, 4, 1));
      for (double threshold : new double[] {3e-5, 0.3, 9e-5, 0.9}) {
        assertThat(found.circuit(threshold).size()).isGreaterThan(1);
      }
      assertThatIllegalArgumentException()
          .isThrownBy(() -> found.circuit(0.31))
          .withMessageContaining("expected one of [3.0")
          .withMessageContaining("got 0.31");
    }
  }

  @ParameterizedTest
  @EnumSource(FaithfulnessTarget.class)
  void testsDecideAsWholeRuns(FaithfulnessTarget target) {
    for (Precision precision : new Precision[] {Precision.FLOAT32, Precision.FLOAT64}) {
      for (OptionalInt seqLen : List.of(OptionalInt.empty(), OptionalInt.of(3))) {
        try (PatchableModel model = model(precision, seqLen)) {
          PromptPairBatch batch = TestModels.batch(2, 3, 10 + seqLen.orElse(0));
          assertSame(model, batch, Acdc.builder().faithfulnessTarget(target));
        }
      }
    }
  }

  @Test
  void testsDecideAsWholeRunsInAResidualGraph() {
    PatchableModelOptions options =
        PatchableModelOptions.defaults()
            .withFactorized(false)
            .withSeparateQkv(false)
            .withOutputSlice(OutputSlice.ALL);
    try (PatchableModel model = TestModels.patchable(Precision.FLOAT32, options)) {
      assertSame(model, TestModels.batch(2, 4, 50), Acdc.builder());
    }
  }

  /** Nothing is known of rounding, so every test is near the threshold. */
  @Test
  void testsNearTheThresholdAreDoneAgain() {
    try (PatchableModel model = TestModels.patchable()) {
      PromptPairBatch batch = TestModels.batch(2, 4, 70);
      assertThat(divergences(model, batch, Acdc.builder().tolerance(1e9)))
          .isEqualTo(divergences(model, batch, Acdc.builder().sequential()));
    }
  }

  @Test
  void paddingAndPrefixesOfEachPrompt() {
    try (PatchableModel model = TestModels.patchable();
        PrefixCache prefix = model.prefixOf(TestModels.tokens(2, 3, 5));
        PatchableModel after = model.withPrefix(prefix)) {
      PromptPairBatch padded =
          TestModels.together(List.of(TestModels.batch(1, 3, 10), TestModels.batch(1, 5, 20)));
      assertSame(after, padded, Acdc.builder());
      assertThat(divergences(after, padded, Acdc.builder()).get(0))
          .isNotCloseTo(divergences(model, padded, Acdc.builder()).get(0), within(1e-6));
    }
  }

  @Test
  void aSearchGoesOnWhereItWasInterrupted() {
    try (PatchableModel model = TestModels.patchable()) {
      PromptPairBatch batch = TestModels.batch(2, 4, 70);
      List<Acdc.Decision> whole = new ArrayList<>();
      Acdc.Builder builder = Acdc.builder().thresholds(0.01).listener(whole::add);
      builder.build().pruneScores(model, List.of(batch));
      int interrupted = whole.size() / 2;
      List<Edge> removed =
          whole.subList(0, interrupted).stream()
              .filter(Acdc.Decision::removed)
              .map(Acdc.Decision::edge)
              .toList();
      assertThat(removed).hasSizeBetween(5, interrupted - 5);
      List<Acdc.Decision> rest = new ArrayList<>();
      AcdcResult found =
          builder
              .removed(removed)
              .edgeOrder(whole.stream().skip(interrupted).map(Acdc.Decision::edge).toList())
              .listener(rest::add)
              .build()
              .search(model, batch);
      assertThat(rest.stream().map(d -> d.edge().name() + d.removed()))
          .containsExactlyElementsOf(
              whole.stream().skip(interrupted).map(d -> d.edge().name() + d.removed()).toList());
      removed.forEach(edge -> assertThat(found.scores().get(model.graph().index(edge))).isZero());
      assertThat(found.circuit(0.01).edges())
          .containsExactlyElementsOf(
              Acdc.builder().thresholds(0.01).build().search(model, batch).circuit(0.01).edges());
    }
  }

  @Test
  void aStoppedSearchHandsOutTheRunsThatHadEnded() {
    try (PatchableModel model = TestModels.patchable()) {
      PromptPairBatch batch = TestModels.batch(2, 4, 70);
      AcdcResult whole = Acdc.builder().thresholds(0.01, 0.03).build().search(model, batch);
      int inSecond = model.graph().nEdges() + 5;
      Acdc stopped =
          Acdc.builder()
              .thresholds(0.01, 0.03)
              .listener(
                  decision -> {
                    if (decision.done() == inSecond) {
                      Thread.currentThread().interrupt();
                    }
                  })
              .build();
      StoppedException stop =
          catchThrowableOfType(StoppedException.class, () -> stopped.search(model, batch));
      assertThat(Thread.interrupted()).isTrue();
      AcdcResult partial = stop.partial(AcdcResult.class).orElseThrow();
      assertThat(partial.thresholds()).containsExactly(0.01);
      assertThat(partial.circuit(0.01)).isEqualTo(whole.circuit(0.01));
    }
  }

  @Test
  void edgesThatAreNotVisitedStay() {
    try (PatchableModel model = TestModels.patchable()) {
      ModelGraph graph = model.graph();
      List<Edge> edges = List.of(graph.edge(0), graph.edge("MLP 1->Resid End"), graph.edge(7));
      List<Edge> visited = new ArrayList<>();
      AcdcResult found =
          Acdc.builder()
              .thresholds(1e9)
              .edgeOrder(edges)
              .listener(decision -> visited.add(decision.edge()))
              .build()
              .search(model, TestModels.batch(2, 4, 1));
      assertThat(visited).containsExactly(edges.get(1), edges.get(0), edges.get(2));
      assertThat(found.scores().toArray()).contains(Double.POSITIVE_INFINITY, 1e9);
      assertThat(found.circuit(1e9).edges())
          .hasSize(graph.nEdges() - 3)
          .doesNotContainAnyElementsOf(edges);
    }
  }

  @Test
  void settingsThatMakeNoSense() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Acdc.builder().thresholds())
        .withMessageContaining("at least one");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Acdc.builder().thresholds(0.1, -1))
        .withMessageContaining("[0.1, -1.0]");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Acdc.builder().tolerance(Double.NaN))
        .withMessageContaining("got NaN");
    PatchableModel model = TestModels.patchable();
    PromptPairBatch batch = TestModels.batch(2, 4, 1);
    try (model) {
      Edge edge = model.graph().edge(0);
      Acdc twice = Acdc.builder().edgeOrder(List.of(edge, edge)).build();
      assertThatIllegalArgumentException()
          .isThrownBy(() -> twice.pruneScores(model, List.of(batch)))
          .withMessageContaining("%s twice", edge);
      Edge foreign = new Edge(edge.src(), edge.dest(), 3);
      Acdc other = Acdc.builder().edgeOrder(List.of(foreign)).build();
      assertThatIllegalArgumentException()
          .isThrownBy(() -> other.pruneScores(model, List.of(batch)));
    }
    assertThatThrownBy(() -> Acdc.builder().build().pruneScores(model, List.of(batch)))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("closed");
  }

  private static void assertSame(
      PatchableModel model, PromptPairBatch batch, Acdc.Builder builder) {
    double[] scores =
        builder.thresholds(THRESHOLDS).build().pruneScores(model, List.of(batch)).toArray();
    double[] expected = builder.sequential().build().pruneScores(model, List.of(batch)).toArray();
    assertThat(Arrays.stream(expected).distinct().count()).isGreaterThan(1);
    assertThat(scores).isEqualTo(expected);
  }

  private static List<Double> divergences(
      PatchableModel model, PromptPairBatch batch, Acdc.Builder builder) {
    List<Double> divergences = new ArrayList<>();
    builder
        .thresholds(THRESHOLDS)
        .listener(decision -> divergences.add(decision.divergence()))
        .build()
        .pruneScores(model, List.of(batch));
    return divergences;
  }

  private static PatchableModel model(Precision precision, OptionalInt seqLen) {
    PatchableModelOptions options = PatchableModelOptions.defaults();
    return TestModels.patchable(
        precision, seqLen.isPresent() ? options.withSeqLen(seqLen.getAsInt()) : options);
  }

  private static Tensor input(double... values) {
    return TensorArrays.of(values, ScalarType.Double, TestDevice.NAME, 1, 1, 2);
  }
}
