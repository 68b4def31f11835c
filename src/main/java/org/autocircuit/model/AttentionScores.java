package org.autocircuit.model;

import java.util.OptionalDouble;
import java.util.OptionalInt;

/**
 * Says how attention scores come from queries and keys.
 *
 * @param scale multiplies their products; {@code 1 / sqrt(dHead)} if empty
 * @param softCap scores become {@code softCap * tanh(score / softCap)} (Gemma 2); 0: they stay
 * @param window positions that a query sees, itself included (Mistral, Gemma 2); all before it if
 *     empty
 * @param windowEvery the window holds for blocks 0, {@code windowEvery}, {@code 2 windowEvery}, …;
 *     1 for all of them
 * @param qkNorm whether each head's query and key are normed, with the model's norm and the weights
 *     {@code attn.q_norm.w} and {@code attn.k_norm.w} (Qwen 3)
 */
public record AttentionScores(
    OptionalDouble scale, double softCap, OptionalInt window, int windowEvery, boolean qkNorm) {

  /** Products divided by {@code sqrt(dHead)}, and all earlier positions in sight. */
  public static final AttentionScores PLAIN =
      new AttentionScores(OptionalDouble.empty(), 0, OptionalInt.empty(), 1, false);

  /**
   * Checks the numbers.
   *
   * @throws IllegalArgumentException naming the number and its value
   */
  public AttentionScores {
    if (scale.isPresent()) {
      TransformerConfig.requirePositive("attention scale", scale.getAsDouble());
    }
    TransformerConfig.requireCap("attention softCap", softCap);
    if (window.isPresent()) {
      TransformerConfig.requirePositive("window", window.getAsInt());
    }
    TransformerConfig.requirePositive("windowEvery", windowEvery);
  }

  /** These scores with products multiplied by {@code value}. */
  public AttentionScores withScale(double value) {
    return new AttentionScores(OptionalDouble.of(value), softCap, window, windowEvery, qkNorm);
  }

  /** These scores kept between {@code -value} and {@code value}. */
  public AttentionScores withSoftCap(double value) {
    return new AttentionScores(scale, value, window, windowEvery, qkNorm);
  }

  /** These scores with only so many positions in sight, in every block. */
  public AttentionScores withWindow(int value) {
    return withWindow(value, 1);
  }

  /** These scores with only so many positions in sight in blocks 0, {@code every}, … */
  public AttentionScores withWindow(int value, int every) {
    return new AttentionScores(scale, softCap, OptionalInt.of(value), every, qkNorm);
  }

  /** These scores of normed queries and keys. */
  public AttentionScores withQkNorm() {
    return new AttentionScores(scale, softCap, window, windowEvery, true);
  }
}
