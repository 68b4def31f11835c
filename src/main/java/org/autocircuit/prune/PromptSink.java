package org.autocircuit.prune;

import org.autocircuit.data.PromptPair;

/** Takes the scores of one prompt after another, for statistics over prompts. */
@FunctionalInterface
public interface PromptSink {

  /**
   * Takes the scores of the next prompt.
   *
   * @param pair the prompt, in the order of the batches
   * @param scores of all edges, of this prompt's own loss; the array is used again for the next
   *     prompt, so copy what is to stay
   */
  void accept(PromptPair pair, double[] scores);
}
