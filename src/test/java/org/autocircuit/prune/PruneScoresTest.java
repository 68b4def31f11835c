package org.autocircuit.prune;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.autocircuit.RandomModels;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.MicroModelConfig;
import org.autocircuit.model.TransformerConfig;
import org.junit.jupiter.api.Test;

class PruneScoresTest {

  private static final ModelGraph GRAPH = ModelGraph.of(new MicroModelConfig(2), false, false);
  private static final ModelGraph POSITIONS =
      ModelGraph.of(new MicroModelConfig(2), true, false, 2);

  @Test
  void circuitsTakeTheGreatestAbsoluteScoresAndAllThatTie() {
    PruneScores scores = PruneScores.of(GRAPH, new double[] {0.5, -3, 0, -0.5, 2, 0.5});
    assertThat(scores.threshold(0)).isInfinite();
    assertThat(scores.threshold(1)).isEqualTo(3);
    assertThat(scores.threshold(3)).isEqualTo(0.5);
    assertThat(scores.threshold(6)).isZero();
    assertThat(scores.circuit(0)).isEqualTo(EdgeSet.none(GRAPH));
    assertThat(scores.circuit(2).indices()).containsExactly(1, 4);
    assertThat(scores.circuit(3).indices()).containsExactly(0, 1, 3, 4, 5);
    assertThat(scores.circuit(3)).isEqualTo(scores.circuit(5));
    assertThat(scores.circuit(6)).isEqualTo(EdgeSet.all(GRAPH));
    assertThat(scores.circuitAtLeast(0.6).indices()).containsExactly(1, 4);
    assertThat(scores.descending()).containsExactly(3, 2, 0.5, 0.5, 0.5, 0);
    assertThat(scores.edgeCounts().counts()).containsExactly(0, 1, 2, 3, 4, 5, 6);
  }

  @Test
  void rankingGoesByAbsoluteScoreThenByIndex() {
    PruneScores scores = PruneScores.of(GRAPH, new double[] {0.5, -3, Double.NaN, -0.5, 2, 0.5});
    assertThat(scores.sorted())
        .extracting(scored -> GRAPH.index(scored.edge()))
        .containsExactly(1, 4, 0, 3, 5, 2);
    assertThat(scores.top(2))
        .containsExactly(
            new ScoredEdge(GRAPH.edge(1), -3), new ScoredEdge(GRAPH.edge("B1.0->Resid End"), 2));
    assertThat(scores.top(2).get(0)).hasToString("B0.0->Resid Post 0: -3.000");
    assertThat(scores.top(99)).hasSize(6);
  }

  @Test
  void theTopIsTheBeginningOfTheRanking() {
    ModelGraph graph =
        ModelGraph.of(
            TransformerConfig.builder().nLayers(2).dModel(8).nHeads(2).dVocab(9).build(),
            true,
            true);
    double[] some = {0, -0.0, 1, -1, 2, Double.NEGATIVE_INFINITY, Double.NaN};
    Random random = new Random(3);
    double[] values = new double[graph.nEdges()];
    Arrays.setAll(values, i -> some[random.nextInt(some.length)]);
    PruneScores scores = PruneScores.of(graph, values);
    for (int count = 0; count <= values.length; count++) {
      assertThat(scores.top(count)).isEqualTo(scores.sorted().subList(0, count));
    }
  }

  @Test
  void infiniteScoresAreInEveryCircuitAndUndefinedOnesInNone() {
    double nan = Double.NaN;
    PruneScores scores =
        PruneScores.of(GRAPH, new double[] {nan, 1, Double.NEGATIVE_INFINITY, 0, nan, 2});
    assertThat(scores.circuit(0).indices()).containsExactly(2);
    assertThat(scores.circuit(2).indices()).containsExactly(2, 5);
    assertThat(scores.threshold(5)).isZero();
    assertThat(scores.circuit(6).indices()).containsExactly(1, 2, 3, 5);
    assertThat(scores.descending()).containsExactly(Double.POSITIVE_INFINITY, 2, 1, 0, nan, nan);
    PruneScores some = PruneScores.of(GRAPH, new double[] {nan, 3, nan, -1, nan, nan});
    assertThat(some.threshold(2)).isEqualTo(1);
    assertThat(some.threshold(6)).isEqualTo(1);
    assertThat(some.circuit(6).indices()).containsExactly(1, 3);
    assertThat(PruneScores.filled(GRAPH, nan).threshold(1)).isInfinite();
    assertThat(PruneScores.filled(GRAPH, nan).circuit(6).size()).isZero();
  }

  @Test
  void circuitsFromEdgesNamesAndTables() {
    assertThat(PruneScores.filled(GRAPH, 0).toArray()).containsOnly(0);
    assertThat(PruneScores.filled(GRAPH, -1.5).toArray()).hasSize(6).containsOnly(-1.5);
    Edge edge = GRAPH.edge("B1.0->Resid End");
    double[] expected = {0, 0, 0, 0, 1, 0};
    assertThat(PruneScores.ofCircuit(GRAPH, List.of(edge)).toArray()).containsExactly(expected);
    assertThat(PruneScores.ofCircuitNames(GRAPH, List.of(edge.name())).toArray())
        .containsExactly(expected);
    assertThat(PruneScores.ofCircuit(GRAPH, Map.of(edge, 1)).toArray()).containsExactly(expected);
    assertThat(PruneScores.ofCircuitNames(GRAPH, Map.of(edge.name(), 1f)).toArray())
        .containsExactly(expected);
    assertThat(PruneScores.ofCircuitNames(POSITIONS, Map.of("B0.1->B1.0", -2)).get("B0.1->B1.0", 1))
        .isEqualTo(-2);
    assertThatThrownBy(() -> PruneScores.ofCircuitNames(GRAPH, List.of("B1.0->Resid end")))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("did you mean 'B1.0->Resid End'?");
  }

  @Test
  void scoresByEdgeNameAndModule() {
    double[] flat = new double[POSITIONS.nEdges()];
    for (int i = 0; i < flat.length; i++) {
      flat[i] = i / 8.0;
    }
    PruneScores scores = PruneScores.of(POSITIONS, flat);
    flat[12] = 99;
    assertThat(scores.get("B0.1->B1.0", 1)).isEqualTo(1.5).isEqualTo(scores.get(12));
    assertThat(scores.get(POSITIONS.edge(12))).isEqualTo(1.5);
    ModuleScores module = scores.module("blocks.1.head_inputs");
    assertThat(module.shape()).containsExactly(2, 2, 3);
    assertThat(module.get(1, 0, 2)).isEqualTo(1.5);
    assertThat(module.toArray()).hasSize(12).startsWith(0.5).endsWith(15 / 8.0);
    assertThatThrownBy(() -> module.get(1, 2, 2)).isInstanceOf(IndexOutOfBoundsException.class);
    assertThatThrownBy(() -> module.get(1, 1, 3)).isInstanceOf(IndexOutOfBoundsException.class);

    Map<String, double[]> blocks = new HashMap<>();
    scores.modules().forEach(m -> blocks.put(m.module().moduleName(), m.toArray()));
    assertThat(PruneScores.ofModules(POSITIONS, blocks))
        .isEqualTo(scores)
        .hasSameHashCodeAs(scores)
        .isEqualTo(PruneScores.of(POSITIONS, scores.toFloatArray()));
  }

  @Test
  void wrongSizesAndModulesAreRefused() {
    assertThatThrownBy(() -> PruneScores.of(GRAPH, new float[5]))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("expected 6 scores")
        .hasMessageContaining("got 5");
    PruneScores scores = PruneScores.filled(GRAPH, 1);
    assertThatThrownBy(() -> scores.circuit(7))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("from 0 to 6, got 7");
    assertThatThrownBy(() -> scores.threshold(-1)).isInstanceOf(IllegalArgumentException.class);
    assertThatThrownBy(() -> scores.module("resids.9"))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("did you mean 'resids.0'?");
    double[] block = {1, 2, 3};
    assertThatThrownBy(() -> PruneScores.ofModules(GRAPH, Map.of("resids.0", block)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("expected 3 scores [3] for module 'output', got none");
    assertThatThrownBy(
            () ->
                PruneScores.ofModules(
                    GRAPH, Map.of("resids.0", block, "output", block, "out", block)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("'out'");
  }

  @Test
  void randomScoresFollowTheSeed() {
    PruneScores scores = RandomPruneScores.of(POSITIONS, 7);
    assertThat(scores).isEqualTo(RandomPruneScores.of(POSITIONS, 7));
    assertThat(scores).isNotEqualTo(RandomPruneScores.of(POSITIONS, 8));
    assertThat(scores.toArray()).doesNotHaveDuplicates();
    assertThat(Arrays.stream(scores.toArray())).allMatch(score -> score >= 0 && score < 1);
    assertThat(scores.circuit(10).size()).isEqualTo(10);
  }

  @Test
  void largeTablesBecomeCircuits() {
    ModelGraph graph =
        ModelGraph.of(RandomModels.config(32, 4096, 32, 128, 14336, 128256, 8192), true, true);
    PruneScores scores = RandomPruneScores.of(graph, 1);
    for (int size : new int[] {1, 1000, 100_000, graph.nEdges()}) {
      assertThat(scores.circuit(size).size()).isEqualTo(size);
    }
    List<ScoredEdge> top = scores.top(1000);
    assertThat(EdgeSet.of(graph, top.stream().map(ScoredEdge::edge).toList()))
        .isEqualTo(scores.circuit(1000));
    assertThat(top).isSortedAccordingTo((a, b) -> Double.compare(b.score(), a.score()));
  }
}
