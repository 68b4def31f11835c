package org.autocircuit.prune;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;
import org.autocircuit.golden.GoldenCase;
import org.autocircuit.golden.GoldenOp;
import org.autocircuit.golden.GoldenTensor;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Sizes of circuits of the reference data. */
class PruneScoresGoldenTest {

  static Stream<GoldenCase> cases() {
    return GoldenCase.all().stream();
  }

  @ParameterizedTest
  @MethodSource("cases")
  void circuitsHaveTheSizesOfTheReference(GoldenCase golden) {
    ModelGraph graph = supported(golden);
    for (GoldenOp op : golden.ops("run_circuits")) {
      if (op.raises() != null) {
        System.out.println("skipped " + op + ": the reference raises " + op.raises());
        continue;
      }
      PruneScores scores = scores(graph, op);
      Set<Integer> sizes = new LinkedHashSet<>();
      for (JsonNode count : op.param("test_edge_counts")) {
        EdgeSet circuit = scores.circuit(count.asInt());
        sizes.add(circuit.size());
        assertThat(op.hasOutput("count_" + circuit.size())).as("%s, %s edges", op, count).isTrue();
      }
      if (!op.scalar("actual_counts_in_order").isMissingNode()) {
        List<Integer> expected = new ArrayList<>();
        op.scalar("actual_counts_in_order").forEach(count -> expected.add(count.asInt()));
        assertThat(List.copyOf(sizes)).as(op.toString()).isEqualTo(expected);
      } else {
        assertThat(sizes).as(op.toString()).hasSize(op.outputNames().size());
      }
    }
  }

  private static PruneScores scores(ModelGraph graph, GoldenOp op) {
    String name = op.param("scores").asText();
    String infinite = "untied with +inf in the first element of module ";
    if (!name.startsWith(infinite)) {
      return named(graph, op.goldenCase(), name);
    }
    double[] scores = named(graph, op.goldenCase(), "untied").toArray();
    scores[graph.destModule(name.substring(infinite.length())).offset()] = Double.POSITIVE_INFINITY;
    return PruneScores.of(graph, scores);
  }

  private static PruneScores named(ModelGraph graph, GoldenCase golden, String name) {
    return scores(graph, golden.byModule("prune_scores/" + name));
  }

  private static PruneScores scores(ModelGraph graph, Map<String, GoldenTensor> byModule) {
    Map<String, double[]> blocks = new LinkedHashMap<>();
    byModule.forEach((module, tensor) -> blocks.put(module, tensor.doubles()));
    return PruneScores.ofModules(graph, blocks);
  }

  private static ModelGraph supported(GoldenCase golden) {
    Optional<String> reason = golden.unsupported();
    Assumptions.assumeTrue(reason.isEmpty(), () -> golden + ": " + reason.orElseThrow());
    return golden.referenceGraph();
  }
}
