package org.autocircuit.prune;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;
import org.autocircuit.RandomModels;
import org.autocircuit.golden.GoldenCase;
import org.autocircuit.golden.GoldenOp;
import org.autocircuit.golden.GoldenTensor;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.EdgeCounts;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Thresholds, circuit sizes and scores of the reference data. */
class PruneScoresGoldenTest {

  static Stream<GoldenCase> cases() {
    return GoldenCase.all().stream();
  }

  @Test
  void thresholdsAndDescendingScores() {
    Assumptions.assumeTrue(
        GoldenCase.root().resolve("tensor_ops").toFile().exists(), "no tensor_ops in this folder");
    List<GoldenOp> ops = GoldenCase.load("tensor_ops").ops("prune_scores_threshold");
    assertThat(ops).isNotEmpty();
    // The reference scores belong to no model: lay them out flat and leave the rest unscored.
    ModelGraph graph = ModelGraph.of(RandomModels.config(2, 16, 4, 4, 32, 53, 32), true, true);
    for (GoldenOp op : ops) {
      double[] flat =
          op.inputByModule("prune_scores").values().stream()
              .flatMapToDouble(block -> Arrays.stream(block.doubles()))
              .toArray();
      double[] padded = Arrays.copyOf(flat, graph.nEdges());
      Arrays.fill(padded, flat.length, padded.length, Double.NaN);
      PruneScores scores = PruneScores.of(graph, padded);
      for (int count = 0; count <= flat.length; count++) {
        assertThat(scores.threshold(count))
            .as("%s, %d edges", op, count)
            .isEqualTo(GoldenCase.number(op.scalar(Integer.toString(count))));
      }
      double[] descending = scores.descending();
      for (int rank = 0; rank < flat.length; rank++) {
        assertThat(descending[rank]).isEqualTo(op.scalar("desc").get(rank).asDouble());
      }
    }
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

  @ParameterizedTest
  @MethodSource("cases")
  void edgeCountsOfScores(GoldenCase golden) {
    ModelGraph graph = supported(golden);
    for (GoldenOp op : golden.ops("edge_counts")) {
      PruneScores scores = named(graph, golden, op.param("scores").asText());
      assertThat(scores.edgeCounts().counts())
          .as(op.toString())
          .isEqualTo(integers(op.scalar("default")));
      assertThat(scores.edgeCounts().testCounts(EdgeCounts.GROUPS).counts())
          .as(op.toString())
          .isEqualTo(integers(op.scalar("groups")));
    }
  }

  @ParameterizedTest
  @MethodSource("cases")
  void groundTruth(GoldenCase golden) {
    ModelGraph graph = supported(golden);
    for (GoldenOp op : golden.ops("ground_truth")) {
      List<Edge> edges = new ArrayList<>();
      for (JsonNode edge : op.param("true_edges")) {
        edges.add(graph.edge(graph.index(GoldenCase.edgeName(edge))));
      }
      assertThat(GroundTruthPruneScores.of(graph, edges))
          .as(op.toString())
          .isEqualTo(scores(graph, op.outputByModule("prune_scores")));
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

  private static List<Integer> integers(JsonNode array) {
    List<Integer> integers = new ArrayList<>();
    array.forEach(integer -> integers.add(integer.asInt()));
    return integers;
  }

  private static ModelGraph supported(GoldenCase golden) {
    Optional<String> reason = golden.unsupported();
    Assumptions.assumeTrue(reason.isEmpty(), () -> golden + ": " + reason.orElseThrow());
    return golden.referenceGraph();
  }
}
