package org.autocircuit.eval;

import org.autocircuit.graph.EdgeSet;
import org.autocircuit.prune.Correlation;
import org.autocircuit.prune.PruneScores;

/** Says how alike two scores of one graph's edges are. */
public final class ScoreSimilarity {

  private ScoreSimilarity() {}

  /**
   * The share of edges that the circuits of one size have in common; the counterpart of the Python
   * original's {@code prune_score_similarities}.
   *
   * @param size number of edges, at least 1
   * @return 0 to 1; NaN where scores tie, so that a circuit has another size
   * @throws IllegalArgumentException if the graphs differ, or there is no such size
   */
  public static double overlap(PruneScores some, PruneScores others, int size) {
    requireOneGraph(some, others);
    if (size < 1) {
      throw new IllegalArgumentException("expected a circuit of at least one edge, got " + size);
    }
    EdgeSet first = some.circuit(size);
    EdgeSet second = others.circuit(size);
    if (first.size() != size || second.size() != size) {
      return Double.NaN;
    }
    return (double) first.indices().filter(second::contains).count() / size;
  }

  /**
   * Pearson's correlation of the scores, with their signs.
   *
   * @return −1 to 1; NaN if a score is NaN or infinite, or all scores of one side are equal
   * @throws IllegalArgumentException if the graphs differ
   */
  public static double pearson(PruneScores some, PruneScores others) {
    requireOneGraph(some, others);
    return Correlation.pearson(some.toArray(), others.toArray());
  }

  /**
   * Spearman's correlation: Pearson's of the ranks of the scores, with their signs; scores that tie
   * have the mean of their ranks.
   *
   * @return −1 to 1; NaN if a score is NaN, or all scores of one side are equal
   * @throws IllegalArgumentException if the graphs differ
   */
  public static double spearman(PruneScores some, PruneScores others) {
    requireOneGraph(some, others);
    return Correlation.spearman(some.toArray(), others.toArray());
  }

  private static void requireOneGraph(PruneScores some, PruneScores others) {
    if (!some.graph().equals(others.graph())) {
      throw new IllegalArgumentException(
          "expected scores of one graph, got those of a %s and of a %s"
              .formatted(some.graph(), others.graph()));
    }
  }
}
