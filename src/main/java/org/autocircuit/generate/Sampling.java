package org.autocircuit.generate;

import org.autocircuit.internal.Numbers;

/**
 * Says how tokens are chosen: the most probable one, or one drawn at random, after the temperature
 * has been applied, all but the {@code topK} most probable tokens are left out, and then all but
 * the fewest that have a share of {@code topP} of what is left. Equally probable tokens come in the
 * order of their ids. Immutable.
 *
 * <p>The draw for a token depends on the seed and on the token's place in the answer, and on
 * nothing else, so that a request gets the same tokens at any load, on every platform that computes
 * the same logits.
 *
 * @param temperature what logits are divided by; 0: the most probable token is taken
 * @param topK number of most probable tokens to draw from; 0: all
 * @param topP share in (0, 1] of the probability to draw from
 * @param seed one for each answer that shall differ
 */
public record Sampling(double temperature, int topK, double topP, long seed) {

  /** The most probable token, always. */
  public static final Sampling GREEDY = new Sampling(0, 0, 1, 0);

  /** Tokens as probable as the model says, with seed 0. */
  public static final Sampling RANDOM = new Sampling(1, 0, 1, 0);

  /**
   * Checks the values.
   *
   * @throws IllegalArgumentException naming one that is out of range
   */
  public Sampling {
    if (!(temperature >= 0 && temperature < Double.POSITIVE_INFINITY)) {
      throw new IllegalArgumentException(
          "temperature: expected 0 or a positive number, got " + temperature);
    }
    Numbers.atLeast(0, "topK", topK);
    if (!(topP > 0 && topP <= 1)) {
      throw new IllegalArgumentException("topP: expected a share in (0, 1], got " + topP);
    }
  }

  /** This with another temperature; 0: the most probable token is taken. */
  public Sampling withTemperature(double value) {
    return new Sampling(value, topK, topP, seed);
  }

  /** This, drawn from the {@code value} most probable tokens only; 0: all. */
  public Sampling withTopK(int value) {
    return new Sampling(temperature, value, topP, seed);
  }

  /** This, drawn from the fewest tokens that together have this share of the probability. */
  public Sampling withTopP(double value) {
    return new Sampling(temperature, topK, value, seed);
  }

  /** This with another seed. */
  public Sampling withSeed(long value) {
    return new Sampling(temperature, topK, topP, value);
  }

  /** Makes a sampler for one answer, to be used by one thread at a time. */
  public TokenSampler sampler() {
    return temperature == 0
        ? (logits, step) -> Exponentials.argMax(logits)
        : new RandomSampler(this);
  }
}
