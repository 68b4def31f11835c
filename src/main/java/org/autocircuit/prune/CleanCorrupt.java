package org.autocircuit.prune;

/** Which prompt of a pair. */
public enum CleanCorrupt {
  /** The prompt that the model is asked about. */
  CLEAN,
  /** The one that differs from it in what matters. */
  CORRUPT
}
