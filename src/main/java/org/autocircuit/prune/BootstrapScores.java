package org.autocircuit.prune;

import java.util.Arrays;
import java.util.Locale;
import org.autocircuit.data.PromptPair;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.Numbers;
import org.autocircuit.internal.Poisson;

/**
 * Intervals of scores by the Poisson bootstrap: every prompt counts in each of many replicates a
 * number of times drawn from a Poisson distribution of mean 1, and the spread of the replicates'
 * means is the uncertainty of the mean (Chamandy et al. 2012). Prompts stream through; what is kept
 * is one sum for each replicate and edge.
 *
 * <p>How often prompt i counts in replicate b follows from the seed, b and i alone, so prompts may
 * come in any batches. Not safe for use by several threads.
 */
public final class BootstrapScores implements PromptSink {

  private final ModelGraph graph;
  private final long seed;
  private final double[][] sums;
  private final long[] counts;
  private long prompts;

  /**
   * Begins without prompts.
   *
   * @param replicates how many; 1,000 for ends of intervals that are worth a second digit
   * @param memoryLimit bytes that the sums may take, {@code 8 · replicates · edges}
   * @throws IllegalArgumentException if there is not at least one replicate, or the sums would take
   *     more than the limit
   */
  public BootstrapScores(ModelGraph graph, int replicates, long seed, long memoryLimit) {
    Numbers.atLeast(1, "replicates", replicates);
    long bytes = 8L * replicates * graph.nEdges();
    if (bytes > memoryLimit) {
      throw new IllegalArgumentException(
          String.format(
              Locale.ROOT,
              "%,d replicates of %,d edges take %,d bytes, more than the limit of %,d; at most %,d"
                  + " fit",
              replicates,
              graph.nEdges(),
              bytes,
              memoryLimit,
              memoryLimit / 8 / graph.nEdges()));
    }
    this.graph = graph;
    this.seed = seed;
    sums = new double[replicates][graph.nEdges()];
    counts = new long[replicates];
  }

  @Override
  public void accept(PromptPair pair, double[] scores) {
    for (int replicate = 0; replicate < sums.length; replicate++) {
      int times = Poisson.times(seed, replicate, prompts);
      if (times > 0) {
        double[] sum = sums[replicate];
        for (int i = 0; i < sum.length; i++) {
          sum[i] += times * scores[i];
        }
        counts[replicate] += times;
      }
    }
    prompts++;
  }

  /**
   * The quantile of each edge's mean over the replicates: with 0.025 and 0.975 the ends of 95 %
   * intervals. Replicates in which no prompt counts are left out.
   *
   * @param probability from 0 to 1
   * @throws IllegalArgumentException if it is not
   * @throws IllegalStateException if no prompt came in
   */
  public PruneScores quantile(double probability) {
    if (!(probability >= 0 && probability <= 1)) {
      throw new IllegalArgumentException("probability: expected 0 to 1, got " + probability);
    }
    int n = (int) Arrays.stream(counts).filter(count -> count > 0).count();
    if (n == 0) {
      throw new IllegalStateException("no prompt counts in any replicate");
    }
    double[] means = new double[n];
    double[] quantiles = new double[graph.nEdges()];
    for (int edge = 0; edge < quantiles.length; edge++) {
      int next = 0;
      for (int replicate = 0; replicate < sums.length; replicate++) {
        if (counts[replicate] > 0) {
          means[next++] = sums[replicate][edge] / counts[replicate];
        }
      }
      Arrays.sort(means);
      double place = probability * (n - 1);
      int below = (int) place;
      int above = Math.min(below + 1, n - 1);
      quantiles[edge] = means[below] + (place - below) * (means[above] - means[below]);
    }
    return PruneScores.of(graph, quantiles);
  }
}
