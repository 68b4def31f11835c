package org.autocircuit.prune;

import java.util.Arrays;
import java.util.stream.IntStream;

/** Correlation of paired values, which may stand for more or less of a population each. */
public final class Correlation {

  private Correlation() {}

  /**
   * Pearson's coefficient.
   *
   * @return −1 to 1; NaN if a value is NaN or infinite, or one side has no spread
   * @throws IllegalArgumentException if there are not equally many values on both sides
   */
  public static double pearson(double[] x, double[] y) {
    return pearson(x, y, equalWeights(x, y));
  }

  /**
   * Spearman's coefficient: Pearson's of the ranks; values that tie have the mean of their ranks.
   *
   * @return −1 to 1; NaN if a value is NaN, or one side has no spread
   * @throws IllegalArgumentException if there are not equally many values on both sides
   */
  public static double spearman(double[] x, double[] y) {
    return spearman(x, y, equalWeights(x, y));
  }

  private static double[] equalWeights(double[] x, double[] y) {
    if (x.length != y.length) {
      throw new IllegalArgumentException(
          "expected pairs of values, got %s and %s".formatted(x.length, y.length));
    }
    double[] weights = new double[x.length];
    Arrays.fill(weights, 1);
    return weights;
  }

  /**
   * Pearson's coefficient with weights; NaN if one side has no spread.
   *
   * @param weights of the pairs, not negative
   */
  static double pearson(double[] x, double[] y, double[] weights) {
    double total = Arrays.stream(weights).sum();
    double meanX = weighted(x, weights) / total;
    double meanY = weighted(y, weights) / total;
    double xx = 0;
    double yy = 0;
    double xy = 0;
    for (int i = 0; i < x.length; i++) {
      double dx = x[i] - meanX;
      double dy = y[i] - meanY;
      xx += weights[i] * dx * dx;
      yy += weights[i] * dy * dy;
      xy += weights[i] * dx * dy;
    }
    return xx == 0 || yy == 0 ? Double.NaN : xy / Math.sqrt(xx * yy);
  }

  /** Spearman's coefficient with weights: Pearson's of the ranks, of which ties share one. */
  static double spearman(double[] x, double[] y, double[] weights) {
    return pearson(ranks(x, weights), ranks(y, weights), weights);
  }

  /** The weight below each value, and half of that at it; NaN has no rank. */
  private static double[] ranks(double[] values, double[] weights) {
    int[] order =
        IntStream.range(0, values.length)
            .boxed()
            .sorted((a, b) -> Double.compare(values[a], values[b]))
            .mapToInt(Integer::intValue)
            .toArray();
    double[] ranks = new double[values.length];
    double below = 0;
    for (int i = 0; i < order.length; ) {
      int end = i;
      double at = 0;
      while (end == i || (end < order.length && values[order[end]] == values[order[i]])) {
        at += weights[order[end++]];
      }
      for (; i < end; i++) {
        ranks[order[i]] = Double.isNaN(values[order[i]]) ? Double.NaN : below + at / 2;
      }
      below += at;
    }
    return ranks;
  }

  private static double weighted(double[] x, double[] weights) {
    double sum = 0;
    for (int i = 0; i < x.length; i++) {
      sum += weights[i] * x[i];
    }
    return sum;
  }
}
