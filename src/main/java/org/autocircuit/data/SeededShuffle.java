package org.autocircuit.data;

import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;

/**
 * The order that Python's {@code random.seed(seed); random.shuffle(list(range(n)))} gives, so that
 * a dataset or an edge list shuffled here matches one that the original shuffled with the same
 * seed.
 *
 * <p>A Mersenne Twister (MT19937) seeded by array, and a Fisher-Yates shuffle from the end whose
 * bounded numbers are the top bits of one output each, drawn again while too large.
 */
public final class SeededShuffle {
  private static final int SIZE = 624;
  private static final int MIDDLE = 397;

  private final int[] state = new int[SIZE];
  private int next = SIZE;

  private SeededShuffle(long seed) {
    seedBy(19650218);
    long magnitude = Math.abs(seed);
    int low = (int) magnitude;
    int high = (int) (magnitude >>> 32);
    seedBy(high == 0 ? new int[] {low} : new int[] {low, high});
  }

  /**
   * The shuffled order of {@code 0 … n - 1}.
   *
   * @param n how many, not negative
   * @param seed any; a seed and its negative give the same order, as in Python
   */
  public static int[] order(int n, long seed) {
    int[] order = IntStream.range(0, n).toArray();
    SeededShuffle random = new SeededShuffle(seed);
    for (int i = n - 1; i > 0; i--) {
      int j = random.below(i + 1);
      int swapped = order[i];
      order[i] = order[j];
      order[j] = swapped;
    }
    return order;
  }

  /** A list of the same elements in shuffled order. Unmodifiable. */
  public static <T> List<T> shuffled(List<T> elements, long seed) {
    return Arrays.stream(order(elements.size(), seed)).mapToObj(elements::get).toList();
  }

  private void seedBy(int seed) {
    state[0] = seed;
    for (int i = 1; i < SIZE; i++) {
      state[i] = 1812433253 * (state[i - 1] ^ (state[i - 1] >>> 30)) + i;
    }
  }

  private void seedBy(int[] key) {
    int i = 1;
    int j = 0;
    for (int k = 0; k < SIZE; k++) {
      state[i] = (state[i] ^ ((state[i - 1] ^ (state[i - 1] >>> 30)) * 1664525)) + key[j] + j;
      i = advance(i);
      j = (j + 1) % key.length;
    }
    for (int k = 0; k < SIZE - 1; k++) {
      state[i] = (state[i] ^ ((state[i - 1] ^ (state[i - 1] >>> 30)) * 1566083941)) - i;
      i = advance(i);
    }
    state[0] = 0x80000000;
  }

  private int advance(int i) {
    if (i + 1 < SIZE) {
      return i + 1;
    }
    state[0] = state[SIZE - 1];
    return 1;
  }

  private int nextInt() {
    if (next == SIZE) {
      twist();
      next = 0;
    }
    int y = state[next++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return y ^ (y >>> 18);
  }

  private void twist() {
    for (int i = 0; i < SIZE; i++) {
      int y = (state[i] & 0x80000000) | (state[(i + 1) % SIZE] & 0x7fffffff);
      state[i] = state[(i + MIDDLE) % SIZE] ^ (y >>> 1) ^ ((y & 1) == 0 ? 0 : 0x9908b0df);
    }
  }

  private int below(int bound) {
    int bits = 32 - Integer.numberOfLeadingZeros(bound);
    int drawn;
    do {
      drawn = nextInt() >>> (32 - bits);
    } while (drawn >= bound);
    return drawn;
  }
}
