package org.autocircuit.patch;

/**
 * Ablations that are computed from one batch. Their names are those of the Python original's {@code
 * Ablation}.
 */
public enum BatchAblation implements Ablation {
  /** The outputs as they are, usually those on a corrupt prompt. */
  RESAMPLE,
  /** Zeros. */
  ZERO,
  /** At each token position the mean over the prompts of the batch. */
  BATCH_TOKENWISE_MEAN,
  /** The mean over all prompts and positions of the batch. */
  BATCH_ALL_TOK_MEAN
}
