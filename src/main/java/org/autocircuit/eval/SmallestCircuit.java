package org.autocircuit.eval;

import java.util.Collection;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.SortedMap;
import java.util.TreeMap;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.pass.Progress;
import org.autocircuit.prune.CircuitSelection;
import org.autocircuit.prune.PruneScores;

/**
 * The smallest circuit of a ranking that recovers a share of what the full model does, found by
 * bisection over sizes. What a circuit recovers is its faithfulness, {@code (m(circuit) − m(empty))
 * / (m(full) − m(empty))} with the mean {@code m} of a metric over prompts, as in {@link
 * FaithfulnessCurve}.
 *
 * <p><b>Smallest of those tried.</b> Faithfulness does not grow evenly with the size: an edge that
 * works against the answer takes some away. So this is a circuit that recovers the share while the
 * one with one edge less does not, and neither does any smaller one that was {@linkplain #tried
 * tried}; one that was not tried may.
 *
 * <p>Plain Java data, immutable.
 *
 * <pre>{@code
 * Evaluation logits = Evaluation.of(PromptMetric.answerDifference(AnswerScale.LOGIT));
 * System.out.println(SmallestCircuit.find(logits, model, batches, scores, 0.95, false));
 * }</pre>
 *
 * @param share what it was to recover at least
 * @param circuit the best edges of the ranking, ties by edge index
 * @param conditions how it was measured
 * @param tried faithfulness by size, of all circuits that were run
 */
public record SmallestCircuit(
    double share, EdgeSet circuit, Conditions conditions, SortedMap<Integer, Double> tried) {

  /** Copies what was tried. */
  public SmallestCircuit {
    tried = Collections.unmodifiableSortedMap(new TreeMap<>(tried));
  }

  /**
   * Searches; runs about as many circuits as the number of edges has binary digits.
   *
   * @param share above 0, at most 1
   * @param signed whether edges rank by their scores, not by the absolute values
   * @throws IllegalArgumentException if there is no such share, a score is NaN, there is no batch,
   *     the scores are those of another graph, or the metric is the same with all edges and with
   *     none
   * @throws org.autocircuit.exception.NotFiniteException if a logit is NaN or infinite
   * @throws org.autocircuit.exception.StoppedException if it was stopped
   */
  public static SmallestCircuit find(
      Evaluation evaluation,
      PatchableModel model,
      Collection<? extends PromptPairBatch> batches,
      PruneScores scores,
      double share,
      boolean signed) {
    return find(evaluation, model, batches, scores, share, signed, Progress.NONE);
  }

  /**
   * As {@link #find(Evaluation, PatchableModel, Collection, PruneScores, double, boolean)}.
   *
   * @param progress is told of the circuits that ran, and of how many there are at most
   */
  public static SmallestCircuit find(
      Evaluation evaluation,
      PatchableModel model,
      Collection<? extends PromptPairBatch> batches,
      PruneScores scores,
      double share,
      boolean signed,
      Progress progress) {
    if (!(share > 0 && share <= 1)) {
      throw new IllegalArgumentException("share: expected above 0 and at most 1, got " + share);
    }
    EdgeSet all = EdgeSet.all(scores.graph());
    if (!selected(scores, scores.size(), signed).equals(all)) {
      throw new IllegalArgumentException("scores: expected numbers to rank edges by, got NaN");
    }
    List<PromptValues> ends =
        evaluation.measure(model, batches, List.of(EdgeSet.none(scores.graph()), all));
    PromptValues empty = ends.get(0);
    PromptValues full = ends.get(1);
    double range = full.requireDifferentMean(empty);
    SortedMap<Integer, Double> tried = new TreeMap<>();
    int most = 2 + Integer.SIZE - Integer.numberOfLeadingZeros(scores.size() - 1);
    int ran = 2;
    progress.report(ran, most);
    int fails = 0;
    tried.put(fails, 0.0);
    int holds = scores.size();
    tried.put(holds, 1.0);
    while (holds - fails > 1) {
      int size = (fails + holds) >>> 1;
      PromptValues values = evaluation.measure(model, batches, selected(scores, size, signed));
      double faithfulness = (values.mean() - empty.mean()) / range;
      tried.put(size, faithfulness);
      progress.report(++ran, most);
      if (faithfulness >= share) {
        holds = size;
      } else {
        fails = size;
      }
    }
    return new SmallestCircuit(share, selected(scores, holds, signed), full.conditions(), tried);
  }

  private static EdgeSet selected(PruneScores scores, int size, boolean signed) {
    CircuitSelection selection = CircuitSelection.top(size);
    return (signed ? selection.signed() : selection).of(scores);
  }

  /** The share that the circuit recovers. */
  public double faithfulness() {
    return tried.get(circuit.size());
  }

  /** The size, what it recovers, and how it was measured. */
  @Override
  public String toString() {
    return String.format(
        Locale.ROOT,
        "%s recover %.1f %% (%.1f %% asked for; %s)",
        circuit,
        100 * faithfulness(),
        100 * share,
        conditions);
  }
}
