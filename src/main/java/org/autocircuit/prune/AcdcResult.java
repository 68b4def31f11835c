package org.autocircuit.prune;

import java.util.List;
import org.autocircuit.graph.EdgeSet;

/**
 * The result of {@link Acdc}: the circuit that each threshold's run left, and a score for each
 * edge.
 *
 * <p>Every threshold has a run of its own, which begins with the whole model. A greater threshold
 * removes more edges as a rule, but not the same ones: an edge that was removed at 0.003 may stay
 * at 0.01. So {@link #circuit} asks for a run; scores tell only the smallest threshold at which an
 * edge was removed.
 *
 * <p>Plain Java data, immutable.
 */
public final class AcdcResult {

  /** Grids of thresholds are products, which are not always the numbers that people write. */
  private static final double SAME = 1e-12;

  /**
   * One threshold's run.
   *
   * @param threshold what removing an edge may cost
   * @param circuit the edges that are left
   */
  record Run(double threshold, EdgeSet circuit) {}

  private final List<Run> runs;
  private final PruneScores scores;

  AcdcResult(List<Run> runs, PruneScores scores) {
    this.runs = List.copyOf(runs);
    this.scores = scores;
  }

  /** The thresholds in the order in which they were tried. */
  public List<Double> thresholds() {
    return runs.stream().map(Run::threshold).toList();
  }

  /**
   * The edges that were left at the end of a threshold's own run, those that were not visited among
   * them.
   *
   * @throws IllegalArgumentException if that was none of the thresholds
   */
  public EdgeSet circuit(double threshold) {
    return runs.stream()
        .filter(run -> Math.abs(run.threshold - threshold) <= SAME * threshold)
        .findFirst()
        .orElseThrow(
            () ->
                new IllegalArgumentException(
                    "threshold: expected one of %s, got %s".formatted(thresholds(), threshold)))
        .circuit;
  }

  /**
   * The original's scores: for each edge the smallest threshold at which it was removed, infinite
   * if it never was, and 0 if it was removed before the search. Edges whose score is greater than
   * the only threshold are its circuit; with several thresholds ask {@link #circuit}.
   */
  public PruneScores scores() {
    return scores;
  }

  /** The thresholds and the sizes of their circuits. */
  @Override
  public String toString() {
    return "AcdcResult"
        + runs.stream().map(run -> run.threshold + ": " + run.circuit.size() + " edges").toList();
  }
}
