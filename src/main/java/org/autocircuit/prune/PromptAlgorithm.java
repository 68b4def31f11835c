package org.autocircuit.prune;

import java.util.Collection;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.pass.Progress;

/**
 * An algorithm whose scores are means over prompts, and that can tell the scores of each prompt:
 * for standard errors and intervals ({@link ScoreStatistics}, {@link BootstrapScores}), or to see
 * on which prompts an edge matters.
 */
public interface PromptAlgorithm extends PruneAlgorithm {

  /**
   * Scores the edges on each prompt by itself. The mean of these scores over all prompts is what
   * {@link #pruneScores} returns, up to rounding.
   *
   * @param model its masks are not touched
   * @param batches at least one; how prompts are put into batches makes no difference, unless they
   *     are patched with means of the batch
   * @param progress is told of each step of the algorithm
   * @param sink takes the scores of each prompt, on the calling thread
   * @throws IllegalArgumentException if there is no batch, or one does not fit the model
   * @throws IllegalStateException if the model is closed
   * @throws org.autocircuit.exception.NotFiniteException if a logit or a score is NaN or infinite
   * @throws org.autocircuit.exception.StoppedException if it was stopped; the sink has what was
   *     done
   */
  void scorePrompts(
      PatchableModel model,
      Collection<? extends PromptPairBatch> batches,
      Progress progress,
      PromptSink sink);
}
