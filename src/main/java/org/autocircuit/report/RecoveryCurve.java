package org.autocircuit.report;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.autocircuit.eval.FaithfulnessCurve;
import org.autocircuit.eval.MeanDifference;
import org.autocircuit.eval.PromptValues;

/**
 * A line on a {@link CircuitPage}: what circuits of several sizes do under some conditions, beside
 * yardsticks. Where the range from no edge to all of them is but noise, the page shows the metric
 * itself and no shares of it. Plain Java data, immutable.
 *
 * <pre>{@code
 * RecoveryCurve curve = RecoveryCurve.of(FaithfulnessCurve.measure(...)).withName("zero");
 * }</pre>
 */
public final class RecoveryCurve {

  /**
   * One circuit. What is not known is NaN.
   *
   * @param edges its size
   * @param metric the mean over prompts
   * @param standardError of the mean
   * @param recovered the metric on a scale from 0 for no edge to 1 for all of them
   * @param klDivergence divergence from the full model in nats
   * @param accuracy share of prompts whose most probable token is an answer, 0 to 1
   * @param ofPrompts the metric on each prompt, in the order of the page's prompts; empty if not
   *     known
   */
  public record Point(
      int edges,
      double metric,
      double standardError,
      double recovered,
      double klDivergence,
      double accuracy,
      List<Double> ofPrompts) {

    /** Copies the list. */
    public Point {
      ofPrompts = List.copyOf(ofPrompts);
    }

    /** A point of which only the share is known. */
    public static Point ofShare(int edges, double recovered) {
      return new Point(edges, Double.NaN, Double.NaN, recovered, Double.NaN, Double.NaN, List.of());
    }

    /** A point of which the metric on each prompt is known. */
    public static Point of(PromptValues values, double recovered) {
      return of(values, recovered, Double.NaN, Double.NaN);
    }

    /** This point with the metric on each prompt. */
    public Point withPrompts(PromptValues values) {
      return of(values, recovered, klDivergence, accuracy);
    }

    private static Point of(
        PromptValues values, double recovered, double klDivergence, double accuracy) {
      return new Point(
          values.edges(),
          values.mean(),
          values.standardError(),
          recovered,
          klDivergence,
          accuracy,
          Arrays.stream(values.toArray()).boxed().toList());
    }
  }

  final String name;
  final String conditions;
  final String metric;
  final MeanDifference range;
  final Point all;
  final Point none;
  final List<Point> found;
  final Map<String, List<Point>> baselines;
  final double performanceRatio;
  final double modelDistance;

  private RecoveryCurve(
      String name,
      String conditions,
      String metric,
      MeanDifference range,
      Point all,
      Point none,
      List<Point> found,
      Map<String, List<Point>> baselines,
      double performanceRatio,
      double modelDistance) {
    this.name = Objects.requireNonNull(name, "name");
    this.conditions = Objects.requireNonNull(conditions, "conditions");
    this.metric = Objects.requireNonNull(metric, "metric");
    this.range = Objects.requireNonNull(range, "range");
    this.all = Objects.requireNonNull(all, "all");
    this.none = Objects.requireNonNull(none, "none");
    this.found = found;
    this.baselines = baselines;
    this.performanceRatio = performanceRatio;
    this.modelDistance = modelDistance;
  }

  /**
   * A curve without areas, baselines and name.
   *
   * @param metric its name, {@code logit difference}
   * @param range by how much it is higher with all edges than with none
   * @param all the circuit of all edges
   * @param none the circuit of no edge
   * @param found circuits that scores pick, in any order
   */
  public static RecoveryCurve of(
      String metric, MeanDifference range, Point all, Point none, List<Point> found) {
    List<Point> bySize = new ArrayList<>(found);
    bySize.sort((a, b) -> Integer.compare(a.edges(), b.edges()));
    return new RecoveryCurve(
        "", "", metric, range, all, none, List.copyOf(bySize), Map.of(), Double.NaN, Double.NaN);
  }

  /** A curve of circuits of ten sizes, with both areas where all of the curve is there. */
  public static RecoveryCurve of(FaithfulnessCurve curve) {
    List<Point> found =
        curve.points().stream()
            .map(
                point ->
                    Point.of(
                        point.values(),
                        point.faithfulness(),
                        point.measures().klDivergence(),
                        point.measures().accuracy()))
            .toList();
    boolean whole = curve.points().size() == FaithfulnessCurve.SHARES.size();
    return of(
            curve.conditions().metric(),
            curve.range(),
            Point.of(curve.full(), 1),
            Point.of(curve.empty(), 0),
            found)
        .withConditions(curve.conditions().toString())
        .withAreas(
            whole ? curve.performanceRatio() : Double.NaN,
            whole ? curve.modelDistance() : Double.NaN);
  }

  /** This curve with a name, which tells it from others of the page. */
  public RecoveryCurve withName(String value) {
    return new RecoveryCurve(
        value,
        conditions,
        metric,
        range,
        all,
        none,
        found,
        baselines,
        performanceRatio,
        modelDistance);
  }

  /** This curve with a line on the conditions under which it was measured. */
  public RecoveryCurve withConditions(String value) {
    return new RecoveryCurve(
        name, value, metric, range, all, none, found, baselines, performanceRatio, modelDistance);
  }

  /**
   * This curve with one more yardstick.
   *
   * @param of what its circuits are: {@code random circuits}
   * @param points in ascending order of sizes
   */
  public RecoveryCurve withBaseline(String of, List<Point> points) {
    Map<String, List<Point>> more = new LinkedHashMap<>(baselines);
    more.put(Objects.requireNonNull(of, "of"), List.copyOf(points));
    return new RecoveryCurve(
        name,
        conditions,
        metric,
        range,
        all,
        none,
        found,
        Collections.unmodifiableMap(more),
        performanceRatio,
        modelDistance);
  }

  /** This curve with the areas under it; NaN where they are not known. */
  RecoveryCurve withAreas(double ratio, double distance) {
    return new RecoveryCurve(
        name, conditions, metric, range, all, none, found, baselines, ratio, distance);
  }

  /** The name, the metric and how many circuits there are. */
  @Override
  public String toString() {
    return "RecoveryCurve[%s, %s, %s circuits]".formatted(name, metric, found.size());
  }
}
