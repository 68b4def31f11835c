package org.autocircuit.prune;

import java.util.Collection;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.pass.Progress;

/**
 * Scores the edges of a model on pairs of prompts. One class for each algorithm of the literature,
 * with a builder for its settings:
 *
 * <pre>{@code
 * List<PruneAlgorithm> algorithms =
 *     List.of(MaskGradient.builder().build(), Acdc.builder().build(), RandomPruneScores.seeded(7));
 * for (PruneAlgorithm algorithm : algorithms) {
 *   EdgeSet circuit = algorithm.pruneScores(model, batches).circuit(100);
 *   System.out.println(algorithm.name() + ": " + circuit.size() + " edges");
 * }
 * }</pre>
 *
 * <p><b>Threads.</b> Algorithms are immutable and safe to share between threads.
 *
 * <p><b>Chance.</b> What an algorithm draws follows from a seed among its settings, so the same
 * algorithm gives the same scores for the same model, prompts and {@linkplain
 * org.autocircuit.Threads number of threads}.
 */
public interface PruneAlgorithm {

  /**
   * Returns what the literature calls it, with those settings that make it another algorithm, for
   * tables and messages: {@code edge attribution patching}.
   */
  String name();

  /**
   * Returns what scores are numbers of, in the plural: {@code logits}, {@code nats}; {@code none}
   * where nothing is measured.
   */
  String unit();

  /** Returns what the sign of scores means. */
  ScoreSign sign();

  /**
   * Scores the edges of a model.
   *
   * @param model its masks are not touched
   * @param batches at least one
   * @return a score for each edge of the model's graph
   * @throws IllegalArgumentException if there is no batch, or one does not fit the model
   * @throws IllegalStateException if the model is closed
   * @throws org.autocircuit.exception.NotFiniteException if a logit, a loss or a score is NaN or
   *     infinite
   * @throws StoppedException if it was stopped; has the {@link PruneScores} of what was done, if
   *     there are any: each algorithm says what they are
   */
  default PruneScores pruneScores(
      PatchableModel model, Collection<? extends PromptPairBatch> batches) {
    return pruneScores(model, batches, Progress.NONE);
  }

  /**
   * As {@link #pruneScores(PatchableModel, Collection)}.
   *
   * @param progress is told of each step of the algorithm; each one says what its steps are
   */
  PruneScores pruneScores(
      PatchableModel model, Collection<? extends PromptPairBatch> batches, Progress progress);
}
