package org.autocircuit.prune;

import java.util.SplittableRandom;
import org.autocircuit.graph.ModelGraph;

/**
 * Scores drawn evenly from {@code [0, 1)}: the baseline that every other algorithm must beat. The
 * same seed gives the same scores on every machine, but not those of the Python original.
 */
public final class RandomPruneScores {

  private RandomPruneScores() {}

  /** Random scores for all edges of a graph. */
  public static PruneScores of(ModelGraph graph, long seed) {
    SplittableRandom random = new SplittableRandom(seed);
    double[] scores = new double[graph.nEdges()];
    for (int i = 0; i < scores.length; i++) {
      scores[i] = random.nextDouble();
    }
    return PruneScores.wrap(graph, scores);
  }
}
