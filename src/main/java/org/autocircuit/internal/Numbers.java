package org.autocircuit.internal;

/** Checks of numbers that users pass in: what was expected, and what came. */
public final class Numbers {

  private Numbers() {}

  /**
   * Returns a number that is not too small.
   *
   * @throws IllegalArgumentException if it is
   */
  public static int atLeast(int least, String name, int value) {
    atLeast(least, name, (long) value);
    return value;
  }

  /**
   * Returns a number that is not too small.
   *
   * @throws IllegalArgumentException if it is
   */
  public static long atLeast(int least, String name, long value) {
    if (value < least) {
      throw new IllegalArgumentException(name + ": expected " + least + " or more, got " + value);
    }
    return value;
  }

  /**
   * Returns a number that is positive and finite.
   *
   * @throws IllegalArgumentException if it is not
   */
  public static double positive(String name, double value) {
    if (!(value > 0 && value < Double.POSITIVE_INFINITY)) {
      throw new IllegalArgumentException(name + ": expected a positive number, got " + value);
    }
    return value;
  }

  /**
   * Returns a number that is finite and not negative.
   *
   * @throws IllegalArgumentException if it is not
   */
  public static double notNegative(String name, double value) {
    if (!(value >= 0 && value < Double.POSITIVE_INFINITY)) {
      throw new IllegalArgumentException(name + ": expected 0 or more, got " + value);
    }
    return value;
  }
}
