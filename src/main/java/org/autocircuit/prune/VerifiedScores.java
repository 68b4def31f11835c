package org.autocircuit.prune;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;
import java.util.function.ToDoubleFunction;
import org.autocircuit.graph.Edge;

/**
 * Estimated scores beside the exact effects of some edges: the best by estimate, and a random
 * sample of all others. Figures about all edges count each edge of the sample for as many as it
 * stands for. Intervals hold 95 % of what 1,000 samples drawn from this one give (the bootstrap;
 * the best edges are no sample, so they stay as they are).
 *
 * <p>Plain Java data, immutable; safe to share between threads.
 */
public final class VerifiedScores {

  private static final int REPLICATES = 1000;

  /**
   * An edge, what an algorithm estimated, and what patching it does.
   *
   * @param edge the edge
   * @param estimate the algorithm's score
   * @param exact the loss with the edge patched less that of the plain model, a mean over prompts
   */
  public record VerifiedEdge(Edge edge, double estimate, double exact) {}

  /**
   * A figure and the interval that holds it with a probability of 95 %.
   *
   * @param value the figure; NaN where there is none, as for a correlation without spread
   * @param low lower end
   * @param high upper end
   */
  public record Interval(double value, double low, double high) {

    /** The figure with its interval, {@code 0.93 (0.81 to 0.97)}. */
    @Override
    public String toString() {
      return String.format(Locale.ROOT, "%.2f (%.2f to %.2f)", value, low, high);
    }
  }

  private final PruneScores estimates;
  private final List<VerifiedEdge> top;
  private final List<VerifiedEdge> sample;
  private final int topAsked;
  private final int sampleAsked;
  private final long seed;

  VerifiedScores(
      PruneScores estimates,
      List<VerifiedEdge> top,
      List<VerifiedEdge> sample,
      int topAsked,
      int sampleAsked,
      long seed) {
    this.estimates = estimates;
    this.top = List.copyOf(top);
    this.sample = List.copyOf(sample);
    this.topAsked = topAsked;
    this.sampleAsked = sampleAsked;
    this.seed = seed;
  }

  /** The scores that were verified. */
  public PruneScores estimates() {
    return estimates;
  }

  /** The best edges by estimate that were patched, the best first. */
  public List<VerifiedEdge> top() {
    return top;
  }

  /** The random edges beside them that were patched, in the order in which they were drawn. */
  public List<VerifiedEdge> sample() {
    return sample;
  }

  /** Returns whether all edges that were asked for were patched before the budget was spent. */
  public boolean isComplete() {
    return top.size() == topAsked && sample.size() == sampleAsked;
  }

  /**
   * Pearson's correlation of estimates and exact effects over all edges. With a sample of fewer
   * than two edges, unless these are all, its interval is from -1 to 1.
   */
  public Interval pearson() {
    return interval(drawn -> correlation(drawn, false));
  }

  /** Spearman's rank correlation of estimates and exact effects over all edges. */
  public Interval spearman() {
    return interval(drawn -> correlation(drawn, true));
  }

  /**
   * The expected number of edges that are among the {@code top().size()} greatest exact effects of
   * all edges, by absolute value, and not among those chosen by estimate.
   */
  public double expectedMissed() {
    List<VerifiedEdge> all = new ArrayList<>(top);
    all.addAll(sample);
    all.sort(Comparator.comparingDouble(edge -> -Math.abs(edge.exact())));
    double ofSample = weight();
    double room = top.size();
    double missed = 0;
    for (VerifiedEdge edge : all) {
      boolean chosen = top.contains(edge);
      double taken = Math.min(room, chosen ? 1 : ofSample);
      missed += chosen ? 0 : taken;
      room -= taken;
    }
    return missed;
  }

  /**
   * The scores with exact effects in place of estimates where there are any, and all other
   * estimates times the {@link #slope}, so that both are on one scale.
   */
  public PruneScores scores() {
    double slope = slope();
    double[] scores = estimates.toArray();
    Arrays.setAll(scores, i -> slope * scores[i]);
    for (List<VerifiedEdge> edges : List.of(top, sample)) {
      edges.forEach(edge -> scores[estimates.graph().index(edge.edge())] = edge.exact());
    }
    return PruneScores.wrap(estimates.graph(), scores);
  }

  /**
   * The factor from estimates to exact effects that fits the random sample best (least squares,
   * through 0); 1 where its estimates are all 0 or the fit is not positive.
   */
  public double slope() {
    double product = 0;
    double square = 0;
    for (VerifiedEdge edge : sample) {
      product += edge.estimate() * edge.exact();
      square += edge.estimate() * edge.estimate();
    }
    return square > 0 && product > 0 ? product / square : 1;
  }

  /** The number of edges that each edge of the sample stands for. */
  private double weight() {
    return sample.isEmpty() ? 0 : (double) (estimates.size() - top.size()) / sample.size();
  }

  private double correlation(List<VerifiedEdge> drawn, boolean ranks) {
    int n = top.size() + drawn.size();
    double[] x = new double[n];
    double[] y = new double[n];
    double[] weights = new double[n];
    for (int i = 0; i < n; i++) {
      boolean chosen = i < top.size();
      VerifiedEdge edge = chosen ? top.get(i) : drawn.get(i - top.size());
      x[i] = edge.estimate();
      y[i] = edge.exact();
      weights[i] = chosen ? 1 : weight();
    }
    return ranks ? Correlation.spearman(x, y, weights) : Correlation.pearson(x, y, weights);
  }

  private Interval interval(ToDoubleFunction<List<VerifiedEdge>> figure) {
    double value = figure.applyAsDouble(sample);
    if (top.size() + sample.size() == estimates.size()) {
      return new Interval(value, value, value); // nothing was left to chance
    }
    if (sample.size() < 2) {
      return new Interval(value, -1, 1);
    }
    SplittableRandom random = new SplittableRandom(seed);
    double[] values = new double[REPLICATES];
    int n = 0;
    for (int i = 0; i < REPLICATES; i++) {
      List<VerifiedEdge> drawn = new ArrayList<>();
      sample.forEach(edge -> drawn.add(sample.get(random.nextInt(sample.size()))));
      double replicate = figure.applyAsDouble(drawn);
      if (!Double.isNaN(replicate)) {
        values[n++] = replicate;
      }
    }
    if (n == 0) {
      return new Interval(value, -1, 1);
    }
    Arrays.sort(values, 0, n);
    return new Interval(value, values[(int) (0.025 * n)], values[(int) Math.ceil(0.975 * n) - 1]);
  }

  /** The correlations and what was missed, in one sentence. */
  @Override
  public String toString() {
    return String.format(
        Locale.ROOT,
        "%,d best and %,d random edges patched: Pearson %s, Spearman %s, %.1f of the true best %,d"
            + " missed",
        top.size(),
        sample.size(),
        pearson(),
        spearman(),
        expectedMissed(),
        top.size());
  }
}
