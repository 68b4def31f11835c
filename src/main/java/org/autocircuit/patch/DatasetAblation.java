package org.autocircuit.patch;

/**
 * Ablations that are means over a whole data set. Their names are those of the Python original's
 * {@code Ablation}.
 */
public enum DatasetAblation implements Ablation {
  /** At each token position the mean over all clean prompts. */
  TOKENWISE_MEAN_CLEAN(true, false),
  /** At each token position the mean over all corrupt prompts. */
  TOKENWISE_MEAN_CORRUPT(false, true),
  /** At each token position the mean over all clean and all corrupt prompts. */
  TOKENWISE_MEAN_CLEAN_AND_CORRUPT(true, true);

  private final boolean clean;
  private final boolean corrupt;

  DatasetAblation(boolean clean, boolean corrupt) {
    this.clean = clean;
    this.corrupt = corrupt;
  }

  /** Returns whether clean prompts count. */
  public boolean clean() {
    return clean;
  }

  /** Returns whether corrupt prompts count. */
  public boolean corrupt() {
    return corrupt;
  }
}
