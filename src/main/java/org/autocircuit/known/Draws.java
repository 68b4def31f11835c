package org.autocircuit.known;

import java.util.SplittableRandom;
import java.util.stream.IntStream;

/** Random draws, the same on every machine. */
final class Draws {

  private Draws() {}

  /** The numbers below a bound in random order. */
  static int[] permutation(int bound, SplittableRandom random) {
    int[] numbers = IntStream.range(0, bound).toArray();
    for (int i = bound - 1; i > 0; i--) {
      int j = random.nextInt(i + 1);
      int held = numbers[i];
      numbers[i] = numbers[j];
      numbers[j] = held;
    }
    return numbers;
  }
}
