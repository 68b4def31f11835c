package org.autocircuit.graph;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Objects;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * Selects the circuit sizes to test; the counterpart of the Python original's {@code
 * edge_counts_util}, with its parameters and defaults.
 *
 * <ul>
 *   <li>{@code testCounts}: if not given, {@link EdgeCounts#GROUPS} if there are scores and fewer
 *       different absolute values than half the edges and than 100; else {@link EdgeCounts#ALL} up
 *       to 200 edges and {@link EdgeCounts#LOGARITHMIC} beyond.
 *   <li>{@code scores}: the scores whose groups are meant.
 *   <li>{@code zeroEdges}, {@code allEdges}: whether the sizes 0 and "all" are added or removed; if
 *       not given, they are added if more than two sizes were selected, and else removed. As in the
 *       original, a size that a list names twice is removed once.
 *   <li>{@code trueEdgeCount}: a size that is added in any case.
 * </ul>
 *
 * <p>Immutable: each setting returns a new selection.
 *
 * <pre>{@code
 * List<Integer> sizes = EdgeCountSelection.of(graph.nEdges()).trueEdgeCount(12).counts();
 * }</pre>
 */
public final class EdgeCountSelection {

  private static final int MAX_EDGES_FOR_ALL = 200;
  private static final int MAX_GROUPS = 100;

  private final int nEdges;
  private final TestEdges testCounts;
  private final double[] scores;
  private final Boolean zeroEdges;
  private final Boolean allEdges;
  private final Integer trueEdgeCount;

  private EdgeCountSelection(
      int nEdges,
      TestEdges testCounts,
      double[] scores,
      Boolean zeroEdges,
      Boolean allEdges,
      Integer trueEdgeCount) {
    this.nEdges = nEdges;
    this.testCounts = testCounts;
    this.scores = scores;
    this.zeroEdges = zeroEdges;
    this.allEdges = allEdges;
    this.trueEdgeCount = trueEdgeCount;
  }

  /**
   * The default selection for a graph with the given number of edges.
   *
   * @throws IllegalArgumentException if the number is negative
   */
  public static EdgeCountSelection of(int nEdges) {
    if (nEdges < 0) {
      throw new IllegalArgumentException("expected at least 0 edges, got " + nEdges);
    }
    return new EdgeCountSelection(nEdges, null, null, null, null, null);
  }

  /** Sets the rule, or the numbers or shares of edges. */
  public EdgeCountSelection testCounts(TestEdges testCounts) {
    return new EdgeCountSelection(
        nEdges, Objects.requireNonNull(testCounts), scores, zeroEdges, allEdges, trueEdgeCount);
  }

  /** Sets the scores, one for each edge, in any order. The array is copied. */
  public EdgeCountSelection scores(double[] scores) {
    return new EdgeCountSelection(
        nEdges, testCounts, scores.clone(), zeroEdges, allEdges, trueEdgeCount);
  }

  /** Sets whether the size 0 is part of the result. */
  public EdgeCountSelection zeroEdges(boolean zeroEdges) {
    return new EdgeCountSelection(nEdges, testCounts, scores, zeroEdges, allEdges, trueEdgeCount);
  }

  /** Sets whether the number of all edges is part of the result. */
  public EdgeCountSelection allEdges(boolean allEdges) {
    return new EdgeCountSelection(nEdges, testCounts, scores, zeroEdges, allEdges, trueEdgeCount);
  }

  /** Sets a size that the result must have, for example that of the circuit known to be right. */
  public EdgeCountSelection trueEdgeCount(int trueEdgeCount) {
    return new EdgeCountSelection(nEdges, testCounts, scores, zeroEdges, allEdges, trueEdgeCount);
  }

  /**
   * The selected sizes in ascending order.
   *
   * @throws IllegalArgumentException if the rule is {@link EdgeCounts#GROUPS} and there are no
   *     scores
   */
  public List<Integer> counts() {
    List<Integer> counts = selected();
    boolean several = counts.size() > 2;
    include(counts, 0, zeroEdges == null ? several : zeroEdges);
    include(counts, nEdges, allEdges == null ? several : allEdges);
    if (trueEdgeCount != null) {
      include(counts, trueEdgeCount, true);
    }
    Collections.sort(counts);
    return counts;
  }

  private List<Integer> selected() {
    TestEdges rule = testCounts;
    int[] groups = scores != null && (rule == null || rule == EdgeCounts.GROUPS) ? groups() : null;
    if (rule == null) {
      if (groups != null && groups.length < Math.min(nEdges / 2.0, MAX_GROUPS)) {
        rule = EdgeCounts.GROUPS;
      } else {
        rule = nEdges <= MAX_EDGES_FOR_ALL ? EdgeCounts.ALL : EdgeCounts.LOGARITHMIC;
      }
    }
    if (rule instanceof TestEdges.Counts list) {
      return new ArrayList<>(list.counts());
    }
    if (rule instanceof TestEdges.Shares list) {
      return list.shares().stream()
          .map(share -> (int) (nEdges * share))
          .collect(Collectors.toCollection(ArrayList::new));
    }
    if (rule == EdgeCounts.GROUPS) {
      if (groups == null) {
        throw new IllegalArgumentException("EdgeCounts.GROUPS needs scores");
      }
      return Arrays.stream(groups).boxed().collect(Collectors.toCollection(ArrayList::new));
    }
    List<Integer> counts = new ArrayList<>();
    if (rule == EdgeCounts.ALL) {
      for (int count = 0; count <= nEdges; count++) {
        counts.add(count);
      }
    } else {
      for (long power = 1; power < nEdges; power *= 10) {
        for (long count = power; count < 10 * power && count < nEdges; count += power) {
          counts.add((int) count);
        }
      }
    }
    return counts;
  }

  /**
   * Returns how many scores are at least as great as the greatest, the second greatest, … absolute
   * value. Those that are NaN are in no circuit.
   */
  private int[] groups() {
    double[] sorted =
        Arrays.stream(scores).filter(s -> !Double.isNaN(s)).map(Math::abs).sorted().toArray();
    int n = sorted.length;
    return IntStream.rangeClosed(1, n)
        .filter(count -> count == n || sorted[n - count - 1] != sorted[n - count])
        .toArray();
  }

  private static void include(List<Integer> counts, Integer count, boolean included) {
    if (!included) {
      counts.remove(count);
    } else if (!counts.contains(count)) {
      counts.add(count);
    }
  }
}
