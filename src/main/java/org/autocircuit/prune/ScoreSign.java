package org.autocircuit.prune;

/** Says what the sign of scores means. Circuits are chosen by absolute scores in either case. */
public enum ScoreSign {
  /**
   * Positive: the edge works for the answer, and patching it hurts. Negative: it works against the
   * answer, and patching it helps.
   */
  SIGNED,
  /**
   * Scores are 0 or more: the greater, the more the edge matters. Whether it works for the answer
   * or against it they do not say.
   */
  UNSIGNED
}
