package org.autocircuit.prune;

import java.util.Arrays;
import java.util.stream.IntStream;

/** Correlation of paired values that stand for more or less of a population each. */
final class Correlation {

  private Correlation() {}

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

  /** The weight below each value, and half of that at it. */
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
      while (end < order.length && values[order[end]] == values[order[i]]) {
        at += weights[order[end++]];
      }
      for (; i < end; i++) {
        ranks[order[i]] = below + at / 2;
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
