package org.autocircuit.graph;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import org.autocircuit.golden.GoldenCase;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;

class EdgeCountSelectionTest {

  @Test
  void groupsOfScoresOfWhichSomeAreNoNumbers() {
    double[] scores = {Double.NaN, 2, -1, Double.NaN, 2, 0};
    assertThat(
            EdgeCountSelection.of(6)
                .scores(scores)
                .testCounts(EdgeCounts.GROUPS)
                .zeroEdges(false)
                .allEdges(false)
                .counts())
        .containsExactly(2, 3, 4);
  }

  @Test
  void everyRowOfTheReferenceTable() {
    Assumptions.assumeTrue(
        GoldenCase.table("edge_counts").isPresent(), "no table of edge counts in this folder");
    JsonNode table = GoldenCase.table("edge_counts").orElseThrow();
    List<double[]> scoreSets = new ArrayList<>();
    for (JsonNode set : table.get("score_sets")) {
      List<Double> scores = new ArrayList<>();
      set.forEach(block -> flatten(block, scores));
      scoreSets.add(scores.stream().mapToDouble(Double::doubleValue).toArray());
    }
    int raised = 0;
    for (JsonNode row : table.get("rows")) {
      EdgeCountSelection selection = selection(row, scoreSets);
      if (row.hasNonNull("raises")) {
        assertThatThrownBy(selection::counts)
            .as(row.toString())
            .isInstanceOf(IllegalArgumentException.class);
        raised++;
      } else {
        List<Integer> expected = new ArrayList<>();
        row.get("result").forEach(count -> expected.add(count.asInt()));
        assertThat(selection.counts()).as(row.toString()).isEqualTo(expected);
      }
    }
    assertThat(table.get("rows")).hasSizeGreaterThan(1000);
    assertThat(raised).isPositive();
  }

  private static EdgeCountSelection selection(JsonNode row, List<double[]> scoreSets) {
    EdgeCountSelection selection = EdgeCountSelection.of(row.get("n_edges").asInt());
    JsonNode testCounts = row.get("test_counts");
    if (testCounts.isTextual()) {
      selection = selection.testCounts(EdgeCounts.valueOf(testCounts.asText()));
    } else if (testCounts.isArray()) {
      selection = selection.testCounts(list(testCounts, row.get("n_edges").asInt()));
    }
    if (row.hasNonNull("prune_scores")) {
      selection = selection.scores(scoreSets.get(row.get("prune_scores").asInt()));
    }
    if (row.hasNonNull("zero_edges")) {
      selection = selection.zeroEdges(row.get("zero_edges").asBoolean());
    }
    if (row.hasNonNull("all_edges")) {
      selection = selection.allEdges(row.get("all_edges").asBoolean());
    }
    if (row.hasNonNull("true_edge_count")) {
      selection = selection.trueEdgeCount(row.get("true_edge_count").asInt());
    }
    return selection;
  }

  /** Counts or shares; where a row of the original mixes both, counts that its shares are. */
  private static TestEdges list(JsonNode sizes, int nEdges) {
    List<Integer> counts = new ArrayList<>();
    List<Double> shares = new ArrayList<>();
    for (JsonNode size : sizes) {
      counts.add(size.isInt() ? size.intValue() : (int) (nEdges * size.doubleValue()));
      if (!size.isInt()) {
        shares.add(size.doubleValue());
      }
    }
    return shares.size() == counts.size()
        ? new TestEdges.Shares(shares)
        : new TestEdges.Counts(counts);
  }

  @Test
  void defaultsDependOnTheNumberOfEdgesAndOnTheScores() {
    assertThat(EdgeCountSelection.of(4).counts()).containsExactly(0, 1, 2, 3, 4);
    assertThat(EdgeCountSelection.of(201).counts())
        .containsExactly(
            0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 200, 201);
    double[] scores = {3, -3, 1, 0, 0, 0, 0, 0};
    assertThat(EdgeCountSelection.of(8).scores(scores).counts()).containsExactly(0, 2, 3, 8);
  }

  @Test
  void settingsDoNotChangeTheSelectionTheyAreMadeFrom() {
    EdgeCountSelection all = EdgeCountSelection.of(3);
    EdgeCountSelection fewer = all.testCounts(TestEdges.ofShares(0.4, 0.7)).trueEdgeCount(3);
    assertThat(all.counts()).containsExactly(0, 1, 2, 3);
    assertThat(fewer.counts()).containsExactly(1, 2, 3);
    double[] scores = {1, 1, 0};
    EdgeCountSelection groups = all.scores(scores).testCounts(EdgeCounts.GROUPS);
    scores[0] = 5;
    assertThat(groups.counts()).containsExactly(2);
  }

  @Test
  void eightBillionParameterModelsHaveFewDefaultSizes() {
    double[] scores = IntStream.range(0, 1_592_881).asDoubleStream().toArray();
    assertThat(EdgeCountSelection.of(scores.length).scores(scores).counts())
        .hasSize(2 + 6 * 9 + 1)
        .startsWith(0, 1, 2)
        .endsWith(900_000, 1_000_000, 1_592_881);
  }

  @Test
  void sizesThatMakeNoSenseAreRefused() {
    assertThatThrownBy(() -> EdgeCountSelection.of(-1))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("-1");
    assertThatThrownBy(() -> TestEdges.ofCounts(3, -1))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("got -1");
    for (double share : new double[] {Double.NaN, -0.1, 1.5, 10}) {
      assertThatThrownBy(() -> TestEdges.ofShares(0.5, share))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("from 0 to 1, got " + share);
    }
  }

  @Test
  void oneIsOneEdgeOrAllOfThem() {
    EdgeCountSelection selection = EdgeCountSelection.of(7).allEdges(true).zeroEdges(true);
    assertThat(selection.testCounts(TestEdges.ofCounts(1)).counts()).containsExactly(0, 1, 7);
    assertThat(selection.testCounts(TestEdges.ofShares(1)).counts()).containsExactly(0, 7);
    assertThat(selection.testCounts(TestEdges.ofShares(1, 0.5)).counts()).containsExactly(0, 3, 7);
  }

  private static void flatten(JsonNode node, List<Double> numbers) {
    if (node.isArray()) {
      node.forEach(element -> flatten(element, numbers));
    } else {
      numbers.add(GoldenCase.number(node));
    }
  }
}
