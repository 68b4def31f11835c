package org.autocircuit.prune;

import java.util.Collection;
import java.util.SplittableRandom;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.pass.Progress;

/**
 * Draws scores evenly from {@code [0, 1)}: the baseline that every other algorithm must beat. The
 * same seed gives the same scores on every machine, but not those of the Python original. Prompts
 * are not looked at.
 *
 * <p>Immutable; safe to share between threads.
 */
public final class RandomPruneScores implements PruneAlgorithm {

  private final long seed;

  private RandomPruneScores(long seed) {
    this.seed = seed;
  }

  /** Makes the algorithm that draws by a seed. */
  public static RandomPruneScores seeded(long seed) {
    return new RandomPruneScores(seed);
  }

  /** Random scores for all edges of a graph. */
  public static PruneScores of(ModelGraph graph, long seed) {
    SplittableRandom random = new SplittableRandom(seed);
    double[] scores = new double[graph.nEdges()];
    for (int i = 0; i < scores.length; i++) {
      scores[i] = random.nextDouble();
    }
    return PruneScores.wrap(graph, scores);
  }

  @Override
  public String name() {
    return "random";
  }

  @Override
  public String unit() {
    return "none";
  }

  @Override
  public ScoreSign sign() {
    return ScoreSign.UNSIGNED;
  }

  /** As {@link #of}, in one step. */
  @Override
  public PruneScores pruneScores(
      PatchableModel model, Collection<? extends PromptPairBatch> batches, Progress progress) {
    PruneScores scores = of(model.graph(), seed);
    progress.report(1, 1);
    return scores;
  }
}
