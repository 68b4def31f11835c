package org.autocircuit.prune;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.MicroModelConfig;
import org.autocircuit.model.TransformerConfig;
import org.junit.jupiter.api.Test;

class CircuitSelectionTest {

  private static final ModelGraph MICRO = ModelGraph.of(new MicroModelConfig(2), true, false);
  private static final ModelGraph GROUPED =
      ModelGraph.of(
          TransformerConfig.builder()
              .nLayers(2)
              .dModel(16)
              .nHeads(4)
              .nKeyValueHeads(2)
              .dVocab(53)
              .nCtx(32)
              .build(),
          true,
          true,
          3);

  private static PruneScores micro(Map<String, Double> scores) {
    return PruneScores.ofCircuitNames(MICRO, scores);
  }

  private static Set<String> names(EdgeSet edges) {
    Set<String> names = new HashSet<>();
    edges.edges().forEach(edge -> names.add(edge.toString()));
    return names;
  }

  @Test
  void anEdgeThatLeadsNowhereIsTakenByTopAloneAndLeftOutOfPaths() {
    PruneScores scores =
        micro(
            Map.of(
                "Resid Start->B0.0", 9.0, // nothing of B0.0 goes on
                "Resid Start->B1.1", -8.0,
                "B1.1->Resid End", 5.0,
                "B0.1->Resid End", -6.0, // nothing leads to B0.1
                "Resid Start->Resid End", 1.0));
    assertThat(names(CircuitSelection.top(3).of(scores)))
        .containsExactlyInAnyOrder("Resid Start->B0.0", "Resid Start->B1.1", "B0.1->Resid End");
    assertThat(CircuitSelection.top(3).onPaths().of(scores)).isEqualTo(EdgeSet.none(MICRO));
    assertThat(names(CircuitSelection.top(4).onPaths().of(scores)))
        .containsExactlyInAnyOrder("Resid Start->B1.1", "B1.1->Resid End");
    assertThat(names(CircuitSelection.top(2).signed().of(scores)))
        .containsExactlyInAnyOrder("Resid Start->B0.0", "B1.1->Resid End");
    assertThat(names(CircuitSelection.atLeast(5).of(scores))).hasSize(4);
    assertThat(names(CircuitSelection.atLeast(5).signed().of(scores)))
        .containsExactlyInAnyOrder("Resid Start->B0.0", "B1.1->Resid End");
    assertThat(names(CircuitSelection.greedy(3).of(scores)))
        .containsExactlyInAnyOrder("B0.1->Resid End", "B1.1->Resid End", "Resid Start->B1.1");
    assertThat(names(CircuitSelection.greedy(3).onPaths().of(scores)))
        .containsExactlyInAnyOrder("B1.1->Resid End", "Resid Start->B1.1");
  }

  @Test
  void sizesAreExactAndTiesGoByIndex() {
    PruneScores equal = PruneScores.filled(MICRO, 1);
    assertThat(CircuitSelection.top(3).of(equal)).isEqualTo(EdgeSet.of(MICRO, 0, 1, 2));
    assertThat(equal.circuit(3).size()).isEqualTo(MICRO.nEdges());
    double[] some = new double[MICRO.nEdges()];
    some[0] = Double.NaN;
    PruneScores withNan = PruneScores.of(MICRO, some);
    assertThat(CircuitSelection.top(MICRO.nEdges()).of(withNan).contains(0)).isFalse();
    assertThat(CircuitSelection.greedy(MICRO.nEdges()).of(withNan).contains(0)).isFalse();
    assertThat(CircuitSelection.atLeast(0).of(withNan).contains(0)).isFalse();
  }

  /** Grows circuits by the definition, looking at all edges for each one. */
  @Test
  void greedyIsItsDefinition() {
    Random random = new Random(4);
    for (int trial = 0; trial < 5; trial++) {
      double[] values = random.doubles(GROUPED.nEdges(), -1, 1).toArray();
      PruneScores scores = PruneScores.of(GROUPED, values);
      Set<Integer> circuit = new HashSet<>();
      while (circuit.size() < 60) {
        int best = -1;
        for (int i = 0; i < values.length; i++) {
          if (!circuit.contains(i)
              && (best < 0 || Math.abs(values[i]) > Math.abs(values[best]))
              && leadsOn(GROUPED.edge(i), circuit)) {
            best = i;
          }
        }
        circuit.add(best);
      }
      assertThat(CircuitSelection.greedy(60).of(scores).indices().boxed())
          .containsExactlyInAnyOrderElementsOf(circuit);
      // Paths are a part of the circuit.
      EdgeSet paths = CircuitSelection.greedy(60).onPaths().of(scores);
      assertThat(circuit).containsAll(paths.indices().boxed().toList());
    }
  }

  private static boolean leadsOn(Edge edge, Set<Integer> circuit) {
    String name = edge.dest().name();
    if (name.equals("Resid End")) {
      return true;
    }
    int position = edge.position().getAsInt();
    return circuit.stream()
        .map(GROUPED::edge)
        .anyMatch(
            next -> {
              int at = next.position().getAsInt();
              if (name.startsWith("MLP")) {
                return next.src().name().equals(name) && at == position;
              }
              String[] parts = name.split("\\.");
              List<String> heads =
                  parts[2].equals("Q")
                      ? List.of(parts[1])
                      : parts[1].equals("0") ? List.of("0", "1") : List.of("2", "3");
              return heads.stream().anyMatch(h -> next.src().name().equals(parts[0] + "." + h))
                  && (parts[2].equals("Q") ? at == position : at >= position);
            });
  }

  @Test
  void refusesSizesThatAreNone() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> CircuitSelection.top(-1))
        .withMessage("size: expected 0 or more, got -1");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> CircuitSelection.greedy(1000).of(PruneScores.filled(MICRO, 1)))
        .withMessageContaining("got 1,000");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> CircuitSelection.atLeast(Double.NaN))
        .withMessageContaining("NaN");
    assertThat(CircuitSelection.greedy(7).signed().onPaths())
        .hasToString("the best 7 edges that lead to the output, signed, on whole paths");
  }
}
