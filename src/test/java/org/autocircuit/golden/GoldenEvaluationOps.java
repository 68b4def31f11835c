package org.autocircuit.golden;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.autocircuit.golden.GoldenComparison.assertScalar;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.autocircuit.RandomModels;
import org.autocircuit.eval.AreaUnderCurve;
import org.autocircuit.eval.RocCurve;
import org.autocircuit.eval.SameUnderKnockouts;
import org.autocircuit.eval.ScoreSimilarity;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.EdgeCountSelection;
import org.autocircuit.graph.EdgeCounts;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.prune.GroundTruthPruneScores;
import org.autocircuit.prune.PruneScores;

/** The reference's operations that judge scores and circuits. */
final class GoldenEvaluationOps {

  private GoldenEvaluationOps() {}

  static void roc(GoldenModel g, GoldenOp op) {
    ModelGraph graph = op.goldenCase().referenceGraph();
    PruneScores scores = scores(graph, op, "prune_scores");
    List<Edge> edges = new ArrayList<>();
    for (JsonNode edge : op.param("true_edges")) {
      edges.add(graph.edge(graph.index(GoldenCase.edgeName(edge))));
    }
    EdgeSet truth = EdgeSet.of(graph, edges);
    assertPoints(
        op,
        op.scalar("points_groups"),
        RocCurve.of(scores, truth, scores.edgeCounts().counts()).points());
    if (op.scalar("points_all").isArray()) {
      List<Integer> all = IntStream.rangeClosed(0, graph.nEdges()).boxed().toList();
      RocCurve everySize = RocCurve.of(scores, truth, all);
      assertPoints(op, op.scalar("points_all"), everySize.points());
      assertThat(RocCurve.of(scores, truth).area()).isEqualTo(everySize.area(), within(1e-12));
    }
  }

  private static void assertPoints(GoldenOp op, JsonNode expected, List<RocCurve.Point> points) {
    assertThat(points).as(op.toString()).hasSize(expected.size());
    for (int i = 0; i < points.size(); i++) {
      assertThat(points.get(i))
          .as("%s point %s", op, i)
          .isEqualTo(
              new RocCurve.Point(
                  expected.get(i).get(0).asDouble(), expected.get(i).get(1).asDouble()));
    }
  }

  static void groundTruth(GoldenModel g, GoldenOp op) {
    ModelGraph graph = op.goldenCase().referenceGraph();
    List<Edge> edges = new ArrayList<>();
    for (JsonNode edge : op.param("true_edges")) {
      edges.add(graph.edge(graph.index(GoldenCase.edgeName(edge))));
    }
    assertThat(GroundTruthPruneScores.of(graph, edges))
        .as(op.toString())
        .isEqualTo(scores(graph, op.outputByModule("prune_scores")));
  }

  static void edgeCounts(GoldenModel g, GoldenOp op) {
    String name = "prune_scores/" + op.param("scores").asText();
    EdgeCountSelection selection =
        scores(op.goldenCase().referenceGraph(), op.goldenCase().byModule(name)).edgeCounts();
    assertThat(selection.counts()).as(op.toString()).isEqualTo(integers(op.scalar("default")));
    assertThat(selection.testCounts(EdgeCounts.GROUPS).counts())
        .as(op.toString())
        .isEqualTo(integers(op.scalar("groups")));
  }

  /** The reference's scores belong to no model: they are laid out flat, the rest unscored. */
  static void thresholds(GoldenOp op) {
    ModelGraph graph = ModelGraph.of(RandomModels.config(2, 16, 4, 4, 32, 53, 32), true, true);
    double[] flat =
        op.inputByModule("prune_scores").values().stream()
            .flatMapToDouble(block -> Arrays.stream(block.doubles()))
            .toArray();
    double[] padded = Arrays.copyOf(flat, graph.nEdges());
    Arrays.fill(padded, flat.length, padded.length, Double.NaN);
    PruneScores scores = PruneScores.of(graph, padded);
    for (int count = 0; count <= flat.length; count++) {
      assertThat(scores.threshold(count))
          .as("%s, %s edges", op, count)
          .isEqualTo(GoldenCase.number(op.scalar(Integer.toString(count))));
    }
    double[] descending = scores.descending();
    for (int rank = 0; rank < flat.length; rank++) {
      assertThat(descending[rank]).isEqualTo(op.scalar("desc").get(rank).asDouble());
    }
  }

  private static List<Integer> integers(JsonNode array) {
    List<Integer> integers = new ArrayList<>();
    array.forEach(integer -> integers.add(integer.asInt()));
    return integers;
  }

  static void similarities(GoldenModel g, GoldenOp op) {
    ModelGraph graph = op.goldenCase().referenceGraph();
    Map<String, PruneScores> scores =
        Map.of("a", scores(graph, op, "a"), "b", scores(graph, op, "b"));
    for (Map.Entry<String, JsonNode> size : op.json().path("scalars").properties()) {
      for (Map.Entry<String, JsonNode> some : size.getValue().properties()) {
        for (Map.Entry<String, JsonNode> other : some.getValue().properties()) {
          Double expected = GoldenCase.number(other.getValue());
          assertThat(
                  ScoreSimilarity.overlap(
                      scores.get(some.getKey()),
                      scores.get(other.getKey()),
                      Integer.parseInt(size.getKey())))
              .as("%s size %s", op, size.getKey())
              .isEqualTo(expected);
        }
      }
    }
  }

  static void sameUnderKnockout(GoldenModel g, GoldenOp op) {
    PruneScores knockout = scores(g.graph(), op, "knockout_prune_scores");
    double threshold = op.param("knockout_threshold").asDouble();
    int[] knockouts =
        IntStream.range(0, knockout.size()).filter(i -> knockout.get(i) >= threshold).toArray();
    if (op.raises() != null) {
      // The reference's masks are of single precision, whatever the model is.
      SameUnderKnockouts all = measure(g, EdgeSet.all(g.graph()), EdgeSet.of(g.graph(), knockouts));
      assertThat(all.divergence()).as(op.toString()).isLessThan(1e-9);
      assertThat(all.divergenceUnderKnockouts()).as(op.toString()).isLessThan(1e-9);
      return;
    }
    SameUnderKnockouts actual =
        measure(
            g,
            scores(g.graph(), op, "circuit_prune_scores").circuit(op.param("circuit_size").asInt()),
            EdgeSet.of(g.graph(), knockouts));
    JsonNode expected = op.scalar("circuit_size_knockouts_normal_kl_knockout_kl");
    assertThat(actual.circuitEdges()).as(op.toString()).isEqualTo(expected.get(0).asInt());
    assertThat(actual.knockouts()).as(op.toString()).isEqualTo(expected.get(1).asInt());
    assertScalar(op, "normal KL", actual.divergence(), GoldenCase.number(expected.get(2)));
    assertScalar(
        op, "knockout KL", actual.divergenceUnderKnockouts(), GoldenCase.number(expected.get(3)));
  }

  static SameUnderKnockouts measure(GoldenModel g, EdgeSet circuit, EdgeSet knockouts) {
    if (g.takesTokens()) {
      return SameUnderKnockouts.measure(g.model(), g.promptPairs(), circuit, knockouts);
    }
    List<SameUnderKnockouts> each = new ArrayList<>();
    for (int batch = 0; batch < g.batches(); batch++) {
      try (SourceActivations corrupt =
          g.model().sourceAblations(g.input("corrupt", batch), BatchAblation.RESAMPLE)) {
        ModelInput clean = ModelInput.of(g.input("clean", batch));
        each.add(SameUnderKnockouts.measure(g.model(), clean, corrupt, circuit, knockouts));
      }
    }
    return new SameUnderKnockouts(
        each.get(0).circuitEdges(),
        each.get(0).knockouts(),
        each.stream().mapToDouble(SameUnderKnockouts::divergence).average().orElseThrow(),
        each.stream()
            .mapToDouble(SameUnderKnockouts::divergenceUnderKnockouts)
            .average()
            .orElseThrow());
  }

  static void measurementsAuc(GoldenOp op) {
    for (boolean logX : new boolean[] {false, true}) {
      for (boolean logY : new boolean[] {false, true}) {
        for (double least : new double[] {0.001, 0.5}) {
          String name = "logx%s_logy%s_ymin%s".formatted(logX ? 1 : 0, logY ? 1 : 0, least);
          assertThat(area(op.param("points"), logX, logY, least))
              .as("%s %s", op, name)
              .isEqualTo(op.scalar(name).asDouble(), within(1e-9));
        }
      }
    }
  }

  /** The areas under the reference's own curves, so that nothing but the area is compared. */
  static void areas(GoldenOp op) {
    for (boolean logX : new boolean[] {false, true}) {
      for (boolean logY : new boolean[] {false, true}) {
        String name = "auc_kl_logx%s_logy%s".formatted(logX ? 1 : 0, logY ? 1 : 0);
        assertArea(op, name, area(op.scalar("kl_div_clean"), logX, logY, 1e-3));
      }
    }
    JsonNode differences = op.scalar("answer_diff_logits");
    assertArea(op, "auc_answer_diff", area(differences, false, false, 1));
    assertArea(op, "auc_answer_diff_logx", area(differences, true, false, 1));
  }

  private static void assertArea(GoldenOp op, String name, double actual) {
    JsonNode expected = op.scalar(name);
    assertThat(expected.isMissingNode()).as("%s %s", op, name).isFalse();
    if (Double.isNaN(actual)) {
      // Python's max returns its first argument where the other is not a number.
      assertThat(GoldenCase.number(expected)).as("%s %s", op, name).isIn(Double.NaN, 1e-3);
      return;
    }
    assertScalar(op, name, actual, GoldenCase.number(expected));
  }

  private static double area(JsonNode points, boolean logX, boolean logY, double least) {
    List<AreaUnderCurve.Point> curve = new ArrayList<>();
    points.forEach(
        point ->
            curve.add(
                new AreaUnderCurve.Point(point.get(0).asInt(), GoldenCase.number(point.get(1)))));
    AreaUnderCurve area =
        AreaUnderCurve.over(logX ? AreaUnderCurve.Axis.LOGARITHMIC : AreaUnderCurve.Axis.LINEAR);
    return (logY ? area.withLogarithmicValues(least) : area).of(curve);
  }

  static PruneScores scores(ModelGraph graph, GoldenOp op, String input) {
    return scores(graph, op.inputByModule(input));
  }

  private static PruneScores scores(ModelGraph graph, Map<String, GoldenTensor> byModule) {
    Map<String, double[]> blocks = new LinkedHashMap<>();
    byModule.forEach((module, tensor) -> blocks.put(module, tensor.doubles()));
    return PruneScores.ofModules(graph, blocks);
  }

  /**
   * Per cent of the full model's answer: of the means, and of each prompt with their mean.
   *
   * @param full the full model's answer differences of all prompts
   */
  static void assertPercent(
      GoldenOp op, String name, int edges, double[] ofEach, double ofMeans, double[] full) {
    assertLists(op, name + "_diff_of_means", edges, ofMeans, new double[0], full);
    double mean = Arrays.stream(ofEach).average().orElseThrow();
    assertLists(op, name + "_mean_of_diffs", edges, mean, ofEach, full);
  }

  private static void assertLists(
      GoldenOp op, String name, int edges, double mean, double[] ofEach, double[] full) {
    JsonNode lists = op.scalar(name);
    if (lists.has("raises")) {
      return; // for instance the full model's mean is 0
    }
    double smallest = Arrays.stream(full).map(Math::abs).min().orElseThrow();
    double scale =
        op.goldenCase().logitScale()
            / (ofEach.length == 0
                ? Math.abs(Arrays.stream(full).average().orElseThrow())
                : smallest);
    double relative = 100 * (op.goldenCase().isDouble() ? 1e-9 : 1e-4) * scale;
    assertClose(op, name, mean, value(lists.get(0), edges), relative);
    JsonNode each = find(lists.get(2), edges);
    assertThat(each).as("%s %s", op, name).hasSize(ofEach.length);
    for (int prompt = 0; prompt < ofEach.length; prompt++) {
      assertClose(op, name, ofEach[prompt], GoldenCase.number(each.get(prompt)), relative);
    }
  }

  private static void assertClose(
      GoldenOp op, String name, double actual, double expected, double relative) {
    if (Double.isFinite(expected)) {
      assertThat(actual)
          .as("%s %s", op, name)
          .isEqualTo(expected, within(relative * (1 + Math.abs(expected) / 100)));
    } else {
      assertThat(Double.isFinite(actual)).as("%s %s: %s", op, name, actual).isFalse();
    }
  }

  private static double value(JsonNode points, int edges) {
    return GoldenCase.number(find(points, edges));
  }

  private static JsonNode find(JsonNode points, int edges) {
    for (JsonNode point : points) {
      if (point.get(0).asInt() == edges) {
        return point.get(1);
      }
    }
    throw new AssertionError("no point of " + edges + " edges");
  }
}
