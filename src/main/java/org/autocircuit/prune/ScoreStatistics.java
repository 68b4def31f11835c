package org.autocircuit.prune;

import java.util.Arrays;
import org.autocircuit.data.PromptPair;
import org.autocircuit.graph.ModelGraph;

/**
 * Means and standard errors of scores over prompts, added up as prompts come in (Welford 1962), so
 * memory does not grow with their number: two numbers for each edge.
 *
 * <pre>{@code
 * ScoreStatistics statistics = new ScoreStatistics(model.graph());
 * algorithm.scorePrompts(model, batches, Progress.NONE, statistics);
 * PruneScores mean = statistics.mean();
 * PruneScores error = statistics.standardError(); // an edge of 0.3 ± 0.4 may well be nothing
 * }</pre>
 *
 * <p>Not safe for use by several threads.
 */
public final class ScoreStatistics implements PromptSink {

  private final ModelGraph graph;
  private final double[] mean;
  private final double[] squares;
  private long prompts;

  /** Begins without prompts. */
  public ScoreStatistics(ModelGraph graph) {
    this.graph = graph;
    mean = new double[graph.nEdges()];
    squares = new double[mean.length];
  }

  @Override
  public void accept(PromptPair pair, double[] scores) {
    prompts++;
    for (int i = 0; i < mean.length; i++) {
      double deviation = scores[i] - mean[i];
      mean[i] += deviation / prompts;
      squares[i] += deviation * (scores[i] - mean[i]);
    }
  }

  /** Returns how many prompts came in. */
  public long prompts() {
    return prompts;
  }

  /** The mean of each edge's scores over the prompts so far. */
  public PruneScores mean() {
    return PruneScores.of(graph, mean);
  }

  /**
   * The standard error of each mean: the deviation of prompts, √(Σ(s - mean)² / (n - 1)), over √n;
   * NaN for fewer than two prompts. As scores it ranks edges by how uncertain they are.
   */
  public PruneScores standardError() {
    double freedom = prompts - 1;
    return PruneScores.of(
        graph,
        Arrays.stream(squares)
            .map(square -> freedom > 0 ? Math.sqrt(square / freedom / prompts) : Double.NaN)
            .toArray());
  }
}
