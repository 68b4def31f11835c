package org.autocircuit.internal;

import java.util.Arrays;
import java.util.BitSet;

/** Lines up the numbers of a state that {@link StateReader} reads back. For one thread. */
public final class StateWriter {

  /** So many bits are exact in a double. */
  static final int BITS = 32;

  private double[] numbers = new double[16];
  private int size;

  /** Adds a count; up to 2^53 it comes back as it is. */
  public StateWriter add(long count) {
    return add((double) count);
  }

  /** Adds a number. */
  public StateWriter add(double number) {
    room(1);
    numbers[size++] = number;
    return this;
  }

  /** Adds some numbers. */
  public StateWriter add(double[] some) {
    room(some.length);
    System.arraycopy(some, 0, numbers, size, some.length);
    size += some.length;
    return this;
  }

  /** Adds a set of indices below a limit. */
  public StateWriter add(BitSet indices, int limit) {
    double[] packed = new double[StateReader.packed(limit)];
    indices.stream().forEach(i -> packed[i / BITS] += 1L << (i % BITS));
    return add(packed);
  }

  /** All that was added. */
  public double[] toArray() {
    return Arrays.copyOf(numbers, size);
  }

  private void room(int more) {
    if (size + more > numbers.length) {
      numbers = Arrays.copyOf(numbers, Math.max(Math.addExact(size, more), 2 * numbers.length));
    }
  }
}
