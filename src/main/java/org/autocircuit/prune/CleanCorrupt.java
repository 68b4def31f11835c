package org.autocircuit.prune;

import org.autocircuit.data.PromptPairBatch;

/** Which prompt of a pair. */
public enum CleanCorrupt {
  /** The prompt that the model is asked about. */
  CLEAN,
  /** The counterfactual prompt. */
  CORRUPT;

  /** A batch's prompts of this kind. */
  long[][] of(PromptPairBatch batch) {
    return this == CLEAN ? batch.clean() : batch.corrupt();
  }
}
