package org.autocircuit.eval;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.function.DoubleUnaryOperator;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.prune.CircuitSelection;
import org.autocircuit.prune.PruneScores;

/**
 * Says how faithful the circuits of ten sizes are that scores pick, as the Mechanistic
 * Interpretability Benchmark does (Mueller et al. 2025, 2504.13151). A circuit's faithfulness is
 * {@code f = (m(circuit) − m(empty)) / (m(full) − m(empty))}, where {@code m} is the mean of a
 * metric over prompts, {@code full} the circuit of all edges and {@code empty} that of none: 0 for
 * none, 1 for the full model, more where leaving out edges helps the answer.
 *
 * <p>The sizes are {@link #SHARES} of all edges, rounded down, ties by edge index. Circuits are run
 * as they are selected, also with edges that lie on no path from input to output; with activations
 * of other prompts such edges change nothing. Plain Java data, immutable.
 *
 * @param signed whether edges rank by their scores, not by the absolute values
 * @param full the metric of all edges
 * @param empty the metric of no edge
 * @param points one for each share
 */
public record FaithfulnessCurve(
    boolean signed, PromptValues full, PromptValues empty, List<Point> points) {

  /** The benchmark's sizes, as shares of all edges. */
  public static final List<Double> SHARES =
      List.of(.001, .002, .005, .01, .02, .05, .1, .2, .5, 1.);

  /**
   * One circuit.
   *
   * @param share the size asked for, as a share of all edges
   * @param values its metric
   * @param faithfulness as above
   * @param measures divergence from the full model and accuracy in the same passes
   */
  public record Point(
      double share, PromptValues values, double faithfulness, CircuitMeasures measures) {}

  /** Copies the points. */
  public FaithfulnessCurve {
    points = List.copyOf(points);
  }

  /**
   * Runs the circuits that scores pick.
   *
   * @param signed whether edges rank by their scores: edges that work against the answer are left
   *     out as long as possible
   * @throws IllegalArgumentException if there is no batch, the scores are those of another graph,
   *     or the metric is the same with all edges and with none
   * @throws org.autocircuit.exception.NotFiniteException if a logit is NaN or infinite
   * @throws StoppedException if it was stopped; has the {@code FaithfulnessCurve} of what was done,
   *     if anything can be said: all points on the batches that all circuits ran on, or, if there
   *     does not exist, those points that ran on the first, the smallest first
   */
  public static FaithfulnessCurve measure(
      Evaluation evaluation,
      PatchableModel model,
      Collection<? extends PromptPairBatch> batches,
      PruneScores scores,
      boolean signed) {
    ModelGraph graph = scores.graph();
    List<EdgeSet> circuits = new ArrayList<>(List.of(EdgeSet.none(graph), EdgeSet.all(graph)));
    for (double share : SHARES) {
      CircuitSelection selection = CircuitSelection.top((int) (share * graph.nEdges()));
      circuits.add((signed ? selection.signed() : selection).of(scores));
    }
    List<EdgeSet> different = circuits.stream().distinct().toList();
    List<Integer> indices = circuits.stream().map(different::indexOf).toList();
    List<PromptPairBatch> list = List.copyOf(batches);
    MeasureSums sums = new MeasureSums(model, list, different.size());
    try {
      return of(
          signed, indices, evaluation.measure(model, list, different, Optional.of(sums)), sums);
    } catch (StoppedException e) {
      @SuppressWarnings("unchecked") // the evaluation's are of values
      List<PromptValues> measured = e.partial(List.class).orElse(List.of());
      if (measured.size() < 2 || measured.get(1).mean() == measured.get(0).mean()) {
        throw new StoppedException(e, null);
      }
      throw new StoppedException(e, of(signed, indices, measured, sums));
    }
  }

  /**
   * The curve of those points that were measured.
   *
   * @param circuits for none, all and each point the index of its values, which may be missing
   */
  private static FaithfulnessCurve of(
      boolean signed, List<Integer> circuits, List<PromptValues> measured, MeasureSums sums) {
    PromptValues empty = measured.get(0);
    PromptValues full = measured.get(1);
    double range = full.requireDifferentMean(empty);
    List<Point> points = new ArrayList<>();
    for (int i = 0; i < SHARES.size(); i++) {
      int circuit = circuits.get(i + 2);
      if (circuit < measured.size()) {
        PromptValues values = measured.get(circuit);
        double faithfulness = (values.mean() - empty.mean()) / range;
        points.add(new Point(SHARES.get(i), values, faithfulness, sums.mean(circuit)));
      }
    }
    return new FaithfulnessCurve(signed, full, empty, points);
  }

  /**
   * By how much the full model is above the empty circuit: what faithfulness is a share of. Where
   * it is not {@linkplain MeanDifference#isClear clear}, faithfulness and both areas mean little.
   */
  public MeanDifference range() {
    return full.minus(empty);
  }

  /**
   * The circuit performance ratio (CPR): the area under the faithfulness over shares of edges from
   * 0.001 to 1, by trapezoids. The greater, the better; the benchmark ranks edges by their signed
   * scores for it.
   */
  public double performanceRatio() {
    return area(faithfulness -> faithfulness);
  }

  /**
   * The circuit-model distance (CMD): the area under {@code |1 − f|}. 0 is the best; the benchmark
   * ranks edges by their absolute scores for it.
   */
  public double modelDistance() {
    return area(faithfulness -> Math.abs(1 - faithfulness));
  }

  /** The conditions under which it was measured. */
  public Conditions conditions() {
    return full.conditions();
  }

  /** The conditions, both areas, and a line for each size. */
  @Override
  public String toString() {
    StringBuilder text =
        new StringBuilder(
            String.format(
                Locale.ROOT,
                "%s, %s ranking: CPR %.4f, CMD %.4f%n",
                conditions(),
                signed ? "signed" : "absolute",
                performanceRatio(),
                modelDistance()));
    for (Point point : points) {
      text.append(
          String.format(
              Locale.ROOT,
              "%8.1f %% %,9d edges  f = %.4f%n",
              100 * point.share(),
              point.values().edges(),
              point.faithfulness()));
    }
    return text.toString();
  }

  private double area(DoubleUnaryOperator height) {
    return area(points.stream().mapToDouble(Point::faithfulness).toArray(), height);
  }

  /** The area under other values of faithfulness at these points. */
  double area(double[] faithfulness, DoubleUnaryOperator height) {
    double area = 0;
    for (int i = 1; i < points.size(); i++) {
      area +=
          (points.get(i).share - points.get(i - 1).share)
              * (height.applyAsDouble(faithfulness[i - 1]) + height.applyAsDouble(faithfulness[i]))
              / 2;
    }
    return area;
  }
}
