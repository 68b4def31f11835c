package org.autocircuit.model;

import java.util.Objects;
import org.autocircuit.internal.Components;

/**
 * Positions as rotations of queries and keys (Su et al., 2021): pair {@code i} of a head's first
 * {@code dims} values is turned by {@code position * base^(-2 i / dims)}, scaled.
 */
public final class RotaryPositions {

  private final int dims;
  private final double base;
  private final Pairs pairs;
  private final Scaling scaling;

  /** Which of a head's values are turned together. */
  public enum Pairs {
    /** Value {@code i} and value {@code i + dims / 2} (GPT-NeoX, Llama and most others). */
    HALVES,
    /** Values {@code 2 i} and {@code 2 i + 1} (GPT-J). */
    ADJACENT
  }

  /** Says what becomes of the frequencies. */
  public sealed interface Scaling permits None, Linear, Llama3 {}

  /** They stay. */
  public record None() implements Scaling {}

  /**
   * All are divided.
   *
   * @param factor the divisor
   */
  public record Linear(double factor) implements Scaling {

    /**
     * Checks the factor.
     *
     * @throws IllegalArgumentException if it is not positive
     */
    public Linear {
      TransformerConfig.requirePositive("factor", factor);
    }
  }

  /**
   * Llama 3.1's: low frequencies are divided, high ones stay, those between are blended.
   *
   * @param factor the divisor of low frequencies
   * @param lowFreqFactor a frequency is low if it makes at most so many turns in the original
   *     context
   * @param highFreqFactor a frequency is high if it makes at least so many turns in it
   * @param originalNCtx positions of the original context
   */
  public record Llama3(double factor, double lowFreqFactor, double highFreqFactor, int originalNCtx)
      implements Scaling {

    /**
     * Checks the numbers.
     *
     * @throws IllegalArgumentException naming the number and its value
     */
    public Llama3 {
      TransformerConfig.requirePositive("factor", factor);
      TransformerConfig.requirePositive("lowFreqFactor", lowFreqFactor);
      TransformerConfig.requirePositive("highFreqFactor", highFreqFactor);
      TransformerConfig.requirePositive("originalNCtx", originalNCtx);
      if (highFreqFactor <= lowFreqFactor) {
        throw new IllegalArgumentException(
            "highFreqFactor must be above lowFreqFactor, got %s and %s"
                .formatted(highFreqFactor, lowFreqFactor));
      }
    }

    /** Returns what a frequency is divided by; the formula is native code's. */
    public double divisor(double frequency) {
      double turns = originalNCtx * frequency / (2 * Math.PI);
      double blend = (turns - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
      double kept = Math.max(0, Math.min(1, blend));
      return 1 / (kept + (1 - kept) / factor);
    }
  }

  /**
   * Checks the numbers.
   *
   * @throws IllegalArgumentException naming the number and its value
   */
  private RotaryPositions(int dims, double base, Pairs pairs, Scaling scaling) {
    if (dims <= 0 || dims % 2 != 0) {
      throw new IllegalArgumentException("rotary dims must be positive and even, got " + dims);
    }
    TransformerConfig.requirePositive("rotary base", base);
    Objects.requireNonNull(pairs, "pairs");
    Objects.requireNonNull(scaling, "scaling");
    this.dims = dims;
    this.base = base;
    this.pairs = pairs;
    this.scaling = scaling;
  }

  /** Returns how many values of a head are turned, an even number; the rest stay. */
  public int dims() {
    return dims;
  }

  /** Returns the base of the geometric series of frequencies. */
  public double base() {
    return base;
  }

  /** Returns which values make a pair. */
  public Pairs pairs() {
    return pairs;
  }

  /** Returns what becomes of the frequencies in models for long contexts. */
  public Scaling scaling() {
    return scaling;
  }

  /** Rotations of values half the dimensions apart, base 10000. */
  public static RotaryPositions halves(int dims) {
    return new RotaryPositions(dims, 10_000, Pairs.HALVES, new None());
  }

  /** Rotations of neighbouring values, base 10000. */
  public static RotaryPositions adjacent(int dims) {
    return new RotaryPositions(dims, 10_000, Pairs.ADJACENT, new None());
  }

  /** These positions with another base. */
  public RotaryPositions withBase(double value) {
    return new RotaryPositions(dims, value, pairs, scaling);
  }

  /** These positions with other frequencies. */
  public RotaryPositions withScaling(Scaling value) {
    return new RotaryPositions(dims, base, pairs, value);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof RotaryPositions that && components().equals(that.components());
  }

  @Override
  public int hashCode() {
    return components().hashCode();
  }

  @Override
  public String toString() {
    return "RotaryPositions" + components();
  }

  private Components components() {
    return Components.of("dims", dims, "base", base, "pairs", pairs, "scaling", scaling);
  }
}
