package org.autocircuit.model;

import java.util.OptionalDouble;
import java.util.OptionalInt;
import org.autocircuit.internal.Components;

/**
 * Says how attention scores come from queries and keys. Immutable; {@link #PLAIN} with {@code with}
 * methods makes others, which throw an {@code IllegalArgumentException} naming a number that is out
 * of range.
 */
public final class AttentionScores {

  private final OptionalDouble scale;
  private final double softCap;
  private final OptionalInt window;
  private final int windowEvery;
  private final boolean qkNorm;

  /** Products divided by {@code sqrt(dHead)}, and all earlier positions in sight. */
  public static final AttentionScores PLAIN =
      new AttentionScores(OptionalDouble.empty(), 0, OptionalInt.empty(), 1, false);

  private AttentionScores(
      OptionalDouble scale, double softCap, OptionalInt window, int windowEvery, boolean qkNorm) {
    if (scale.isPresent()) {
      TransformerConfig.requirePositive("attention scale", scale.getAsDouble());
    }
    TransformerConfig.requireCap("attention softCap", softCap);
    if (window.isPresent()) {
      TransformerConfig.requirePositive("window", window.getAsInt());
    }
    TransformerConfig.requirePositive("windowEvery", windowEvery);
    this.scale = scale;
    this.softCap = softCap;
    this.window = window;
    this.windowEvery = windowEvery;
    this.qkNorm = qkNorm;
  }

  /** Returns what multiplies their products; {@code 1 / sqrt(dHead)} if empty. */
  public OptionalDouble scale() {
    return scale;
  }

  /**
   * Returns the bound of scores, which become {@code softCap * tanh(score / softCap)} (Gemma 2); 0:
   * they stay.
   */
  public double softCap() {
    return softCap;
  }

  /**
   * Returns how many positions a query sees, itself included (Mistral, Gemma 2); all before it if
   * empty.
   */
  public OptionalInt window() {
    return window;
  }

  /**
   * Returns which blocks have the window: 0, {@code windowEvery}, {@code 2 windowEvery}, …; 1 for
   * all of them.
   */
  public int windowEvery() {
    return windowEvery;
  }

  /**
   * Returns whether each head's query and key are normed, with the model's norm and the weights
   * {@code attn.q_norm.w} and {@code attn.k_norm.w} (Qwen 3).
   */
  public boolean qkNorm() {
    return qkNorm;
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

  @Override
  public boolean equals(Object other) {
    return other instanceof AttentionScores that && components().equals(that.components());
  }

  @Override
  public int hashCode() {
    return components().hashCode();
  }

  @Override
  public String toString() {
    return "AttentionScores" + components();
  }

  private Components components() {
    return Components.of(
        "scale",
        scale,
        "softCap",
        softCap,
        "window",
        window,
        "windowEvery",
        windowEvery,
        "qkNorm",
        qkNorm);
  }
}
