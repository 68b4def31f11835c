package org.autocircuit.eval;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.TransformerConfig;
import org.junit.jupiter.api.Test;

/** Random circuits have what they are to share with another one, and nothing else. */
class RandomCircuitsTest {

  private static final TransformerConfig CONFIG =
      TransformerConfig.builder().nLayers(3).dModel(8).nHeads(2).dVocab(10).nCtx(16).build();

  @Test
  void everyEdgeIsDrawnEquallyOften() {
    ModelGraph graph = ModelGraph.of(CONFIG, true, true);
    int n = graph.nEdges();
    int[] drawn = new int[n];
    for (int seed = 0; seed < 4000; seed++) {
      EdgeSet circuit = RandomCircuits.ofSize(graph, 12, seed);
      assertThat(circuit.size()).isEqualTo(12);
      circuit.indices().forEach(edge -> drawn[edge]++);
    }
    double expected = 4000 * 12.0 / n;
    double chiSquare = 0;
    for (int times : drawn) {
      chiSquare += (times - expected) * (times - expected) / expected;
    }
    // Of n − 1 degrees of freedom, so the mean is n and five deviations are 5 √(2 n).
    assertThat(chiSquare).isBetween(n - 5 * Math.sqrt(2 * n), n + 5 * Math.sqrt(2 * n));
    assertThat(RandomCircuits.ofSize(graph, n, 1)).isEqualTo(EdgeSet.all(graph));
    assertThat(RandomCircuits.ofSize(graph, 0, 1)).isEqualTo(EdgeSet.none(graph));
    assertThat(RandomCircuits.ofSize(graph, 9, 5)).isEqualTo(RandomCircuits.ofSize(graph, 9, 5));
    assertThatIllegalArgumentException().isThrownBy(() -> RandomCircuits.ofSize(graph, n + 1, 1));
  }

  @Test
  void degreesAreKeptAndEdgesAreNot() {
    for (ModelGraph graph :
        List.of(
            ModelGraph.of(CONFIG, true, true),
            ModelGraph.of(CONFIG, true, false),
            ModelGraph.of(CONFIG, true, true, 4))) {
      EdgeSet circuit = RandomCircuits.ofSize(graph, graph.nEdges() / 4, 11);
      List<EdgeSet> drawn = new ArrayList<>();
      for (int seed = 0; seed < 20; seed++) {
        EdgeSet random = RandomCircuits.ofDegrees(circuit, seed);
        assertThat(degrees(random)).isEqualTo(degrees(circuit));
        assertThat(RandomCircuits.ofDegrees(circuit, seed)).isEqualTo(random);
        drawn.add(random);
      }
      assertThat(drawn).doesNotHaveDuplicates().doesNotContain(circuit);
      double common =
          drawn.stream()
              .mapToLong(random -> random.indices().filter(circuit::contains).count())
              .average()
              .orElseThrow();
      assertThat(common).isLessThan(0.6 * circuit.size());
    }
  }

  @Test
  void aCircuitWithNothingToExchangeStaysAsItIs() {
    ModelGraph graph = ModelGraph.of(CONFIG, true, true);
    EdgeSet one = EdgeSet.ofNames(graph, List.of("A0.0->Resid End"));
    assertThat(RandomCircuits.ofDegrees(one, 3)).isEqualTo(one);
    assertThat(RandomCircuits.ofDegrees(EdgeSet.all(graph), 3)).isEqualTo(EdgeSet.all(graph));
  }

  private static Map<String, Integer> degrees(EdgeSet circuit) {
    Map<String, Integer> degrees = new TreeMap<>();
    for (Edge edge : circuit.edges()) {
      degrees.merge("from " + edge.src() + edge.position(), 1, Integer::sum);
      degrees.merge("to " + edge.dest() + edge.position(), 1, Integer::sum);
    }
    return degrees;
  }
}
