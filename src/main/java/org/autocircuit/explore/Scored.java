package org.autocircuit.explore;

import java.util.Objects;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.ScoreSign;

/**
 * Scores of all edges of a model, with what is to be said of them.
 *
 * @param name of what gave them
 * @param unit of the scores, in the plural; {@code none} where nothing is measured
 * @param sign whether signs mean anything
 * @param meaning a sentence on what a score is
 * @param scores of all edges
 */
public record Scored(String name, String unit, ScoreSign sign, String meaning, PruneScores scores) {

  /** Refuses {@code null}. */
  public Scored {
    Objects.requireNonNull(name, "name");
    Objects.requireNonNull(unit, "unit");
    Objects.requireNonNull(sign, "sign");
    Objects.requireNonNull(meaning, "meaning");
    Objects.requireNonNull(scores, "scores");
  }

  /** A method that people may choose. Called by several threads. */
  @FunctionalInterface
  public interface Method {

    /**
     * Scores the edges of the model.
     *
     * @param ablation what edges are patched with
     * @param progress is told how far it is; what it throws goes through
     */
    Scored score(BatchAblation ablation, Progress progress);
  }
}
