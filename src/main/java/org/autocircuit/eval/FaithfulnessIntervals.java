package org.autocircuit.eval;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.autocircuit.internal.Numbers;
import org.autocircuit.internal.Poisson;
import org.autocircuit.prune.VerifiedScores.Interval;

/**
 * Intervals of 95 % of the figures of a {@link FaithfulnessCurve}, by the Poisson bootstrap over
 * its prompts (Chamandy et al. 2012): every prompt counts in each of many replicates a number of
 * times drawn from a Poisson distribution of mean 1, the same for all circuits, for the full model
 * and for no edge; the middle 95 % of the replicates' figures are the interval. They tell what
 * other prompts of the kind would give, not what other scores would.
 *
 * <p>Plain Java data, immutable.
 *
 * @param faithfulness of each point of the curve
 * @param performanceRatio of the area under it
 * @param modelDistance of the area between it and 1
 */
public record FaithfulnessIntervals(
    List<Interval> faithfulness, Interval performanceRatio, Interval modelDistance) {

  private static final double LOW = 0.025;
  private static final double HIGH = 0.975;

  /** Copies the list. */
  public FaithfulnessIntervals {
    faithfulness = List.copyOf(faithfulness);
  }

  /**
   * Draws replicates. Those in which the full model and no edge have the same mean are left out;
   * ends are NaN if that is all of them.
   *
   * @param replicates how many; 1,000 for ends that are worth a second digit
   * @throws IllegalArgumentException if there is not at least one replicate
   */
  public static FaithfulnessIntervals of(FaithfulnessCurve curve, int replicates, long seed) {
    Numbers.atLeast(1, "replicates", replicates);
    double[] empty = curve.empty().toArray();
    double[] full = curve.full().toArray();
    List<double[]> circuits = new ArrayList<>();
    curve.points().forEach(point -> circuits.add(point.values().toArray()));
    List<double[]> drawn = new ArrayList<>();
    for (int replicate = 0; replicate < replicates; replicate++) {
      double[] times = new double[empty.length];
      for (int prompt = 0; prompt < times.length; prompt++) {
        times[prompt] = Poisson.times(seed, replicate, prompt);
      }
      double none = sum(times, empty);
      double range = sum(times, full) - none;
      if (range != 0) {
        drawn.add(
            circuits.stream().mapToDouble(values -> (sum(times, values) - none) / range).toArray());
      }
    }
    List<Interval> points = new ArrayList<>();
    for (int point = 0; point < circuits.size(); point++) {
      int at = point;
      points.add(
          interval(
              curve.points().get(point).faithfulness(),
              drawn.stream().mapToDouble(each -> each[at]).toArray()));
    }
    return new FaithfulnessIntervals(
        points,
        interval(
            curve.performanceRatio(),
            drawn.stream().mapToDouble(each -> curve.area(each, f -> f)).toArray()),
        interval(
            curve.modelDistance(),
            drawn.stream().mapToDouble(each -> curve.area(each, f -> Math.abs(1 - f))).toArray()));
  }

  private static double sum(double[] times, double[] values) {
    double sum = 0;
    for (int i = 0; i < values.length; i++) {
      sum += times[i] * values[i];
    }
    return sum;
  }

  private static Interval interval(double value, double[] replicates) {
    Arrays.sort(replicates);
    return new Interval(value, quantile(replicates, LOW), quantile(replicates, HIGH));
  }

  private static double quantile(double[] sorted, double probability) {
    if (sorted.length == 0) {
      return Double.NaN;
    }
    double place = probability * (sorted.length - 1);
    int below = (int) place;
    int above = Math.min(below + 1, sorted.length - 1);
    return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
  }
}
