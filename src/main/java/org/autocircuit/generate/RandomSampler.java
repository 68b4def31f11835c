package org.autocircuit.generate;

import java.util.Arrays;
import org.autocircuit.internal.SplitMix64;

/**
 * Draws tokens. Only few values are ever sorted: the bounds of top-k and top-p are thresholds, and
 * the draw goes through what is left in the order of ids.
 */
final class RandomSampler implements TokenSampler {

  // Weights in (0, 1] fall into bins by exponent and first bits; the smallest ones share a bin.
  private static final int SHIFT = 46;
  private static final int FIRST = shifted(0x1p-32);
  private static final int BINS = shifted(1) - FIRST + 1;

  private final Sampling sampling;
  private final double[] masses = new double[BINS];
  private double[] inBin = new double[64];

  /** The candidates' logits, later their weights: {@link #count} values. */
  private double[] values;

  /** The ids of the candidates, unless these are all tokens. */
  private int[] ids = new int[0];

  private int count;
  private boolean all;

  /** Candidates with less weight are left out, and so are those with this one but the first. */
  private double least;

  private int equal;

  RandomSampler(Sampling sampling) {
    this.sampling = sampling;
  }

  @Override
  public int next(double[] logits, int step) {
    values = logits;
    count = logits.length;
    all = true;
    int best = Exponentials.argMax(logits);
    double max = logits[best];
    if (sampling.topK() > 0 && sampling.topK() < count) {
      double[] greatest = Exponentials.greatest(logits, sampling.topK());
      int ties = 0;
      while (ties < greatest.length && greatest[ties] == greatest[0]) {
        ties++;
      }
      keep(greatest[0], ties);
    }
    Exponentials.replace(values, count, max, 1 / sampling.temperature());
    double sum = Exponentials.sum(values, count);
    least = 0;
    equal = 0;
    if (sampling.topP() < 1) {
      sum = leaveOutAllBut(sampling.topP() * sum, (1 - sampling.topP()) * sum / count);
    }
    // In (0, 1], so that what has no weight is never met.
    double share =
        ((new SplitMix64(SplitMix64.mix(sampling.seed()) + step).next() >>> 11) + 1) * 0x1p-53;
    double end = share * sum;
    double passed = 0;
    for (int i = 0; i < count; i++) {
      double value = values[i];
      if (value > least || (value == least && equal-- > 0)) {
        passed += value;
        if (passed >= end) {
          return id(i);
        }
      }
    }
    return best; // the sum was rounded up
  }

  private int id(int i) {
    return all ? i : ids[i];
  }

  /** Keeps the candidates that are above a value, and the first that have it. */
  private void keep(double bound, int ties) {
    if (ids.length < values.length) {
      ids = new int[values.length];
    }
    int left = ties;
    int kept = 0;
    for (int i = 0; i < count; i++) {
      double value = values[i];
      if (value > bound || (value == bound && left-- > 0)) {
        values[kept] = value;
        ids[kept++] = id(i);
      }
    }
    count = kept;
    all = false;
  }

  /**
   * Leaves out all but the fewest candidates whose weights sum up to a mass, the heavy ones first.
   *
   * @param floor all candidates below it weigh less than what is to be left out
   * @return the sum of their weights
   */
  private double leaveOutAllBut(double mass, double floor) {
    keep(floor, count);
    Arrays.fill(masses, 0);
    for (int i = 0; i < count; i++) {
      masses[bin(values[i])] += values[i];
    }
    double heavier = 0;
    int bin = BINS - 1;
    while (bin > 0 && heavier + masses[bin] < mass) {
      heavier += masses[bin--];
    }
    double low = bin == 0 ? 0 : lowerBound(bin);
    double high = lowerBound(bin + 1);
    int size = 0;
    for (int i = 0; i < count; i++) {
      double value = values[i];
      if (value >= low && value < high) {
        inBin = size < inBin.length ? inBin : Arrays.copyOf(inBin, 2 * size);
        inBin[size++] = value;
      }
    }
    Arrays.sort(inBin, 0, size);
    while (size > 0 && heavier < mass) {
      double value = inBin[--size];
      equal = value == least ? equal + 1 : 1;
      least = value;
      heavier += value;
    }
    return heavier;
  }

  private static double lowerBound(int bin) {
    return Double.longBitsToDouble((long) (bin + FIRST) << SHIFT);
  }

  private static int bin(double weight) {
    return Math.max(shifted(weight) - FIRST, 0);
  }

  private static int shifted(double weight) {
    return (int) (Double.doubleToRawLongBits(weight) >>> SHIFT);
  }
}
