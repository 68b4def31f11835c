package org.autocircuit.generate;

import java.util.Arrays;

/**
 * Exponentials of many numbers at once, the same on every platform. {@code StrictMath.exp} would
 * take a millisecond for a vocabulary; these loops are additions and multiplications only, which
 * the JVM's compiler does eight at a time.
 */
final class Exponentials {

  /** Below this nothing counts beside {@code exp(0)}, and all intermediate values are normal. */
  private static final double LEAST = -600;

  private static final int HALVINGS = 10;
  private static final double FRACTION = 1.0 / (1 << HALVINGS);

  /** Values that fit into the fastest cache. */
  private static final int CHUNK = 1024;

  private final double[] chunk = new double[CHUNK];

  /**
   * Replaces the first {@code count} values {@code x} by {@code exp((x - max) * scale)}. The
   * relative error is below 1e-10 down to {@code exp(-15)} and below 1e-8 down to {@code exp(-40)};
   * what is smaller than {@code exp(-600)}, 0 too, becomes that.
   *
   * @param max not less than any of them
   */
  static void replace(double[] values, int count, double max, double scale) {
    for (int i = 0; i < count; i++) {
      // exp(x) = exp(x / 1024)^1024, of which the inner one is a short series.
      double x = Math.max((values[i] - max) * scale, LEAST) * FRACTION;
      double power = 1 + x * (1 + x * (1 / 2.0 + x * (1 / 6.0 + x * (1 / 24.0 + x * (1 / 120.0)))));
      power *= power;
      power *= power;
      power *= power;
      power *= power;
      power *= power;
      power *= power;
      power *= power;
      power *= power;
      power *= power;
      values[i] = power * power;
    }
  }

  /** Sums values, in an order that is always the same. */
  static double sum(double[] values, int count) {
    double a = 0;
    double b = 0;
    double c = 0;
    double d = 0;
    int i = 0;
    for (; i + 3 < count; i += 4) {
      a += values[i];
      b += values[i + 1];
      c += values[i + 2];
      d += values[i + 3];
    }
    for (; i < count; i++) {
      a += values[i];
    }
    return (a + b) + (c + d);
  }

  /** Returns the logarithm of the sum of {@code exp(x - max)}; NaN if a value is. */
  double logSum(double[] values, double max) {
    double sum = 0;
    for (int begin = 0; begin < values.length; begin += CHUNK) {
      int count = Math.min(CHUNK, values.length - begin);
      System.arraycopy(values, begin, chunk, 0, count);
      replace(chunk, count, max, 1);
      sum += sum(chunk, count);
    }
    return StrictMath.log(sum);
  }

  /** The place of the greatest value, the first of equal ones; NaN is never it. */
  static int argMax(double[] values) {
    int best = 0;
    double max = Double.NEGATIVE_INFINITY;
    for (int i = 0; i < values.length; i++) {
      if (values[i] > max) {
        max = values[i];
        best = i;
      }
    }
    return best;
  }

  /**
   * Returns the {@code k} greatest values, ascending; of one that comes several times each counts.
   *
   * @param k 1 to the number of values
   */
  static double[] greatest(double[] values, int k) {
    // Holds the greatest so far behind k free places; sorted whenever these are full.
    double[] kept = new double[2 * k];
    Arrays.fill(kept, Double.NEGATIVE_INFINITY);
    double least = Double.NEGATIVE_INFINITY;
    int free = k;
    for (double value : values) {
      if (value > least) {
        kept[--free] = value;
        if (free == 0) {
          Arrays.sort(kept);
          least = kept[k];
          free = k;
        }
      }
    }
    Arrays.fill(kept, 0, free, Double.NEGATIVE_INFINITY);
    Arrays.sort(kept);
    return Arrays.copyOfRange(kept, k, 2 * k);
  }
}
