package org.autocircuit.patch;

/**
 * Chooses what takes the place of the activations of sources. Each is computed from the outputs
 * that the sources have on some input; see {@code PatchableModel.sourceAblations}.
 */
public enum AblationType {
  /** The outputs as they are, usually those on a corrupt prompt. */
  RESAMPLE,
  /** Zeros. */
  ZERO,
  /** At each token position the mean over the prompts of one batch. */
  BATCH_TOKENWISE_MEAN,
  /** The mean over all prompts and positions of one batch. */
  BATCH_ALL_TOK_MEAN,
  /** At each token position the mean over all clean prompts of a data set. */
  TOKENWISE_MEAN_CLEAN,
  /** At each token position the mean over all corrupt prompts of a data set. */
  TOKENWISE_MEAN_CORRUPT,
  /** At each token position the mean over all clean and all corrupt prompts of a data set. */
  TOKENWISE_MEAN_CLEAN_AND_CORRUPT;

  /** Returns whether the mean is one over a data set, not over one batch. */
  public boolean meanOverDataset() {
    return cleanDataset() || corruptDataset();
  }

  /** Returns whether the clean prompts of a data set count. */
  public boolean cleanDataset() {
    return this == TOKENWISE_MEAN_CLEAN || this == TOKENWISE_MEAN_CLEAN_AND_CORRUPT;
  }

  /** Returns whether the corrupt prompts of a data set count. */
  public boolean corruptDataset() {
    return this == TOKENWISE_MEAN_CORRUPT || this == TOKENWISE_MEAN_CLEAN_AND_CORRUPT;
  }
}
