package org.autocircuit.internal;

import java.util.Arrays;
import java.util.BitSet;

/** Reads the numbers of a state that {@link StateWriter} lined up. For one thread. */
public final class StateReader {

  private final double[] numbers;
  private int at;

  /** Begins with the first number. */
  public StateReader(double[] numbers) {
    this.numbers = numbers;
  }

  /** The next number. */
  public double next() {
    require(1);
    return numbers[at++];
  }

  /**
   * The next number, a count.
   *
   * @param most what it cannot exceed
   * @throws IllegalArgumentException if it is no such number
   */
  public long nextCount(long most) {
    double value = next();
    if (value != Math.rint(value) || value < 0 || value > most) {
      throw new IllegalArgumentException(
          "checkpoint: expected a number of steps up to %s, got %s".formatted(most, value));
    }
    return (long) value;
  }

  /** The next numbers. */
  public double[] next(int n) {
    require(n);
    at += n;
    return Arrays.copyOfRange(numbers, at - n, at);
  }

  /** The next set of indices below a limit. */
  public BitSet nextIndices(int limit) {
    BitSet indices = new BitSet(limit);
    double[] packed = next(packed(limit));
    for (int i = 0; i < limit; i++) {
      if (((long) packed[i / StateWriter.BITS] >> (i % StateWriter.BITS) & 1) != 0) {
        indices.set(i);
      }
    }
    return indices;
  }

  /**
   * Ends.
   *
   * @throws IllegalArgumentException if there are more numbers
   */
  public void end() {
    if (at < numbers.length) {
      throw mismatch("no more than " + at);
    }
  }

  static int packed(int limit) {
    return (limit + StateWriter.BITS - 1) / StateWriter.BITS;
  }

  private void require(int n) {
    if (numbers.length - at < n) {
      throw mismatch("at least " + (at + n));
    }
  }

  private IllegalArgumentException mismatch(String expected) {
    return new IllegalArgumentException(
        "checkpoint: expected %s numbers, got %s: it is that of another call"
            .formatted(expected, numbers.length));
  }
}
