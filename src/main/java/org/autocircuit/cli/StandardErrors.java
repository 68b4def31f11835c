package org.autocircuit.cli;

import java.io.PrintWriter;
import java.util.List;
import java.util.Optional;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.prune.PromptAlgorithm;
import org.autocircuit.prune.PruneAlgorithm;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.ScoreStatistics;

/** Tells how far scores depend on the prompts that there happen to be. */
final class StandardErrors {

  /** Scores of each prompt of a batch and edge stand in memory at once. */
  private static final int MOST_EDGES = 250_000;

  private StandardErrors() {}

  /**
   * Scores prompts one by one, which takes as long as to score them together, where the algorithm
   * can; the scores themselves stay those of all prompts together, to the last bit.
   */
  static Optional<PruneScores> of(
      PruneAlgorithm algorithm,
      PatchableModel model,
      List<PromptPairBatch> batches,
      PrintWriter err) {
    if (!(algorithm instanceof PromptAlgorithm ofPrompts) || model.graph().nEdges() > MOST_EDGES) {
      return Optional.empty();
    }
    ScoreStatistics statistics = new ScoreStatistics(model.graph());
    try (PhaseProgress progress = PhaseProgress.of("standard errors", err)) {
      ofPrompts.scorePrompts(model, batches, progress, statistics);
    }
    return Optional.of(statistics.standardError());
  }
}
