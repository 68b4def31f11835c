package org.autocircuit.prune;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.within;

import java.util.List;
import java.util.stream.IntStream;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.TestModels;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.eval.RocCurve;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.run.TrainingPasses.Constraint;
import org.autocircuit.known.KnownModel;
import org.autocircuit.known.KnownTask;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.SourceActivations;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Masks trained to a given sparsity, on models whose circuits are known. */
class EdgePruningTest {

  private static final List<PromptPairBatch> BATCHES =
      List.of(TestModels.batch(3, 5, 10), TestModels.batch(3, 5, 20));

  static List<KnownModel> models() {
    return KnownModel.all();
  }

  static List<KnownModel> soft() {
    return models().stream().filter(known -> !known.isSaturated()).toList();
  }

  @ParameterizedTest
  @MethodSource("models")
  void findsTheWholeCircuit(KnownModel known) {
    try (PatchableModel model = open(known)) {
      List<PromptPairBatch> batches = known.batches(known.prompts());
      EdgePruning pruning = toward(known, model.graph()).build();
      PruneScores scores = pruning.pruneScores(model, batches);
      assertThat(area(scores, known)).as("%s", known).isEqualTo(1);
      assertThat(pruning.circuit(scores)).isEqualTo(known.truth(model.graph()));
    }
  }

  /** In a few steps; gradients of the full model lead these astray. */
  @Test
  void aWarmStartHelps() {
    KnownModel known = KnownModel.of(KnownTask.BRACKETS, true);
    try (PatchableModel model = open(known)) {
      List<PromptPairBatch> batches = known.batches(known.prompts());
      EdgePruning.Builder builder = toward(known, model.graph()).epochs(4);
      assertThat(area(builder.build().pruneScores(model, batches), known)).isLessThan(0.9);
      PruneScores exact = EdgeActivationPatching.builder().build().pruneScores(model, batches);
      PruneScores warm = builder.start(exact).build().pruneScores(model, batches);
      assertThat(area(warm, known)).isEqualTo(1);
    }
  }

  /** A start that knows nothing does no lasting harm. */
  @ParameterizedTest
  @MethodSource("soft")
  void trainingLeavesAWrongStart(KnownModel known) {
    try (PatchableModel model = open(known)) {
      List<PromptPairBatch> batches = known.batches(known.prompts());
      PruneScores random = RandomPruneScores.of(model.graph(), 4);
      EdgePruning.Builder builder = toward(known, model.graph()).start(random);
      PruneScores begun = builder.epochs(1).build().pruneScores(model, batches);
      assertThat(area(begun, known)).as("%s", known).isLessThan(0.6);
      PruneScores trained = builder.epochs(100).build().pruneScores(model, batches);
      assertThat(area(trained, known)).as("%s", known).isEqualTo(1);
    }
  }

  private static EdgePruning.Builder toward(KnownModel known, ModelGraph graph) {
    return EdgePruning.builder().targetSparsity(1 - (double) known.edges().size() / graph.nEdges());
  }

  @Test
  void circuitsHaveExactlyTheTargetSparsity() {
    try (PatchableModel model =
        TestModels.patchable(Precision.FLOAT64, PatchableModelOptions.defaults())) {
      int edges = model.graph().nEdges();
      for (int size : new int[] {0, 1, 17, edges - 1, edges}) {
        EdgePruning pruning =
            EdgePruning.builder().targetSparsity(1 - (double) size / edges).epochs(3).build();
        PruneScores scores = pruning.pruneScores(model, BATCHES);
        assertThat(pruning.circuit(scores).size()).isEqualTo(size);
        EdgeSet ofTies = pruning.circuit(PruneScores.filled(model.graph(), 1));
        assertThat(ofTies.indices().toArray()).isEqualTo(IntStream.range(0, size).toArray());
        EdgePruning warm = EdgePruning.builder().start(scores).epochs(1).build();
        assertThat(warm.pruneScores(model, BATCHES).toArray()).doesNotContain(Double.NaN);
      }
    }
  }

  /** Multipliers go up the gradient of what is gone down from. */
  @Test
  void multipliersGrowWhereTheSparsityIsOff() {
    EdgePruning.Lagrangian lambdas = new EdgePruning.Lagrangian(0.7, 1.3);
    for (double off : new double[] {-0.4, 0, 0.3}) {
      EdgePruning.Lagrangian next = lambdas.ascended(off, 0.5);
      assertThat(next.linear() - lambdas.linear()).isCloseTo(0.5 * off, within(1e-12));
      assertThat(next.quadratic() - lambdas.quadratic()).isCloseTo(0.5 * off * off, within(1e-12));
    }
  }

  @Test
  void stepsGoDownWhatTheSparsitiesCost() {
    try (PatchableModel model =
            TestModels.patchable(Precision.FLOAT64, PatchableModelOptions.defaults());
        SourceActivations corrupt =
            model.sourceAblations(BATCHES.get(0).corrupt(), BatchAblation.RESAMPLE);
        MaskTraining training = SubnetworkProbing.builder().build().training(model, null, true)) {
      ModelGraph graph = model.graph();
      Constraint edges = new Constraint(-2, 3, 0.5);
      Constraint nodes = new Constraint(4, 5, 0.25);
      for (int step = 0; step < 3; step++) {
        MaskTraining.Losses losses = training.step(BATCHES.get(0), corrupt, List.of(edges, nodes));
        double expected =
            losses.faithfulness()
                + penalty(edges, 1 - losses.edges() / graph.nEdges())
                + penalty(nodes, 1 - losses.nodes() / graph.srcs().size());
        assertThat(losses.total()).isCloseTo(expected, within(1e-9));
        assertThat(losses.edges()).isBetween(0.0, (double) graph.nEdges());
        assertThat(losses.nodes()).isBetween(0.0, (double) graph.srcs().size());
      }
    }
  }

  private static double penalty(Constraint constraint, double share) {
    double off = share - constraint.target();
    return constraint.linear() * off + constraint.quadratic() * off * off;
  }

  @ParameterizedTest
  @MethodSource("models")
  void masksOfNodesFindTheWholeCircuit(KnownModel known) {
    try (PatchableModel model = open(known)) {
      List<PromptPairBatch> batches = known.batches(known.prompts());
      ModelGraph graph = model.graph();
      EdgeSet truth = known.truth(graph);
      long needed = truth.edges().stream().map(Edge::src).distinct().count();
      EdgePruning pruning =
          toward(known, graph)
              .targetNodeSparsity(1 - (double) needed / graph.srcs().size())
              .build();
      PruneScores scores = pruning.pruneScores(model, batches);
      assertThat(area(scores, known)).as("%s", known).isEqualTo(1);
      assertThat(pruning.circuit(scores)).isEqualTo(truth);
    }
  }

  @Test
  void masksOfEdgeAndNodeMakeOneOfBoth() {
    for (double a : new double[] {-3, 0, 2}) {
      for (double b : new double[] {-2, 1}) {
        double p = 1 / (1 + Math.exp(-a)) / (1 + Math.exp(-b));
        assertThat(MaskTraining.both(a, b)).isCloseTo(Math.log(p / (1 - p)), within(1e-12));
      }
      assertThat(MaskTraining.both(a, 50)).isCloseTo(a, within(1e-12));
    }
  }

  @Test
  void misuse() {
    EdgePruning.Builder builder = EdgePruning.builder();
    for (double wrong : new double[] {-0.1, 1.1, Double.NaN}) {
      assertThatIllegalArgumentException().isThrownBy(() -> builder.targetSparsity(wrong));
      assertThatIllegalArgumentException().isThrownBy(() -> builder.targetNodeSparsity(wrong));
      assertThatIllegalArgumentException().isThrownBy(() -> builder.warmUp(wrong));
    }
    for (double wrong : new double[] {0, -1, Double.NaN}) {
      assertThatIllegalArgumentException().isThrownBy(() -> builder.learningRate(wrong));
      assertThatIllegalArgumentException().isThrownBy(() -> builder.lambdaRate(wrong));
    }
    assertThatIllegalArgumentException().isThrownBy(() -> builder.epochs(0));
    try (PatchableModel model =
            TestModels.patchable(Precision.FLOAT64, PatchableModelOptions.defaults());
        PatchableModel other = model.withOptions(PatchableModelOptions.defaults().withSeqLen(5))) {
      PruneScores scores = RandomPruneScores.of(other.graph(), 3);
      assertThatIllegalArgumentException()
          .isThrownBy(() -> builder.start(scores).build().pruneScores(model, BATCHES))
          .withMessageContaining("start: expected scores of");
    }
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
