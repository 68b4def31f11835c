package org.autocircuit.known;

/** By how much attention scores and logits differ. */
final class Gaps {

  /** Attention scores at most, where they are soft. */
  static final double SOFT = 4;

  /** Attention scores where they are saturated: single precision has no number as small as e^-g. */
  static final double SATURATED = 128;

  /** Logits at most. */
  static final double LOGIT = 8;

  private Gaps() {}
}
