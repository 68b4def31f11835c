package org.autocircuit.eval;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.prune.PruneScores;

/**
 * Says how well scores find the edges of a circuit that is known: of the circuits that they pick,
 * the share of true edges against the share of false ones (the receiver operating characteristic;
 * the counterpart of the Python original's {@code measure_roc}). Ranking goes by the absolute
 * score; edges that tie enter together, and edges whose score is NaN come last, in no circuit.
 * Plain Java data, immutable.
 *
 * <pre>{@code
 * double area = RocCurve.of(scores, truth).area(); // 1: all true edges before all others
 * }</pre>
 *
 * @param points in ascending order of circuit sizes, between (0, 0) and (1, 1)
 */
public record RocCurve(List<Point> points) {

  /**
   * One circuit.
   *
   * @param falsePositiveRate the share of the edges outside the known circuit that it has, 0 to 1
   * @param truePositiveRate the share of the known circuit's edges that it has, 0 to 1
   */
  public record Point(double falsePositiveRate, double truePositiveRate) {}

  /** Copies the points. */
  public RocCurve {
    points = List.copyOf(points);
  }

  /**
   * The curve over all circuits that the scores tell apart: one point for each different score.
   *
   * @param truth the circuit that is known
   * @throws IllegalArgumentException if the graphs differ, or the known circuit has no edge or all
   */
  public static RocCurve of(PruneScores scores, EdgeSet truth) {
    List<Integer> sizes = new ArrayList<>();
    double[] descending = scores.descending();
    for (int size = 1; size <= descending.length; size++) {
      boolean last = size == descending.length || descending[size] != descending[size - 1];
      if (last && !Double.isNaN(descending[size - 1])) {
        sizes.add(size);
      }
    }
    return of(scores, truth, sizes);
  }

  /**
   * The points of circuits of some sizes; where scores tie, circuits are larger.
   *
   * @param sizes from 0 to the number of edges
   * @throws IllegalArgumentException if the graphs differ, the known circuit has no edge or all, or
   *     there is no such size
   */
  public static RocCurve of(PruneScores scores, EdgeSet truth, Collection<Integer> sizes) {
    requireKnown(scores, truth);
    double[] right = new double[truth.size()];
    double[] wrong = new double[scores.size() - truth.size()];
    int rights = 0;
    for (int edge = 0; edge < scores.size(); edge++) {
      // NaN is at least as great as nothing, so it is in no circuit.
      double score = Double.isNaN(scores.get(edge)) ? -1 : Math.abs(scores.get(edge));
      if (truth.contains(edge)) {
        right[rights++] = score;
      } else {
        wrong[edge - rights] = score;
      }
    }
    Arrays.sort(right);
    Arrays.sort(wrong);
    List<Point> points = new ArrayList<>(List.of(new Point(0, 0)));
    for (int size : sizes) {
      double threshold = scores.threshold(size);
      points.add(new Point(shareAtLeast(wrong, threshold), shareAtLeast(right, threshold)));
    }
    points.add(new Point(1, 1));
    return new RocCurve(points);
  }

  /**
   * The area under the curve by trapezoids, from no edge to all: the probability that a true edge
   * has a greater score than a false one, where ties count one half. 0.5 is chance, 1 the best.
   */
  public double area() {
    double area = 0;
    for (int i = 1; i < points.size(); i++) {
      area += trapezoid(points.get(i - 1), points.get(i));
    }
    return area;
  }

  /** The number of points and the area. */
  @Override
  public String toString() {
    return String.format(Locale.ROOT, "ROC of %d points, area %.4f", points.size(), area());
  }

  private static double trapezoid(Point from, Point to) {
    return (to.falsePositiveRate - from.falsePositiveRate)
        * (from.truePositiveRate + to.truePositiveRate)
        / 2;
  }

  private static double shareAtLeast(double[] ascending, double threshold) {
    int below = Arrays.binarySearch(ascending, threshold);
    if (below < 0) {
      below = -below - 1;
    } else {
      while (below > 0 && ascending[below - 1] == threshold) {
        below--;
      }
    }
    return (double) (ascending.length - below) / ascending.length;
  }

  private static void requireKnown(PruneScores scores, EdgeSet truth) {
    if (!scores.graph().equals(truth.graph())) {
      throw new IllegalArgumentException(
          "truth: expected edges of a %s, got those of a %s"
              .formatted(scores.graph(), truth.graph()));
    }
    if (truth.size() == 0 || truth.size() == scores.size()) {
      throw new IllegalArgumentException("truth: expected some edges, but not all, got " + truth);
    }
  }
}
