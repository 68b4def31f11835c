package org.autocircuit.prune;

import java.util.Arrays;
import java.util.BitSet;
import java.util.Comparator;
import java.util.Locale;
import java.util.PriorityQueue;
import java.util.stream.IntStream;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.graph.UpstreamEdges;
import org.autocircuit.internal.Numbers;

/**
 * Says how scores become a circuit: the best edges of all ({@link #top}), all beyond a threshold
 * ({@link #atLeast}), or the best edges that lead to the output ({@link #greedy}).
 *
 * <p>Edges rank by the absolute value of their scores, or {@linkplain #signed by the scores
 * themselves}: then edges that work against the answer come last. {@link #onPaths} leaves out edges
 * that lie on no path from the input to the output, since they do nothing.
 *
 * <p>Unlike {@link PruneScores#circuit}, which takes all edges that tie with the last one, a size
 * here is exact: ties go by edge index. Edges whose score is NaN are in no circuit.
 *
 * <pre>{@code
 * EdgeSet circuit = CircuitSelection.greedy(200).onPaths().of(scores);
 * }</pre>
 *
 * <p>Immutable; safe to share between threads.
 */
public final class CircuitSelection {

  private enum Rule {
    TOP,
    AT_LEAST,
    GREEDY
  }

  private final Rule rule;
  private final int size;
  private final double threshold;
  private final boolean signed;
  private final boolean onPaths;

  private CircuitSelection(Rule rule, int size, double threshold, boolean signed, boolean onPaths) {
    this.rule = rule;
    this.size = size;
    this.threshold = threshold;
    this.signed = signed;
    this.onPaths = onPaths;
  }

  /**
   * Selects the best edges, so many.
   *
   * @throws IllegalArgumentException if the size is negative
   */
  public static CircuitSelection top(int size) {
    return new CircuitSelection(Rule.TOP, Numbers.atLeast(0, "size", size), 0, false, false);
  }

  /**
   * Selects all edges whose score is at least the threshold.
   *
   * @throws IllegalArgumentException if it is NaN
   */
  public static CircuitSelection atLeast(double threshold) {
    if (Double.isNaN(threshold)) {
      throw new IllegalArgumentException("threshold: expected a number, got NaN");
    }
    return new CircuitSelection(Rule.AT_LEAST, 0, threshold, false, false);
  }

  /**
   * Grows a circuit from the output: again and again takes the best edge among those into the
   * output and into the nodes whose outputs the circuit has, up to so many. Every edge leads to the
   * output then; one may still come from a node that nothing leads to.
   *
   * @throws IllegalArgumentException if the size is negative
   */
  public static CircuitSelection greedy(int size) {
    return new CircuitSelection(Rule.GREEDY, Numbers.atLeast(0, "size", size), 0, false, false);
  }

  /** This selection with edges ranked by their scores, not by the absolute values. */
  public CircuitSelection signed() {
    return new CircuitSelection(rule, size, threshold, true, onPaths);
  }

  /**
   * This selection without edges that lie on no path from the input to the output, which makes
   * circuits smaller than asked for: see {@link EdgeSet#onPaths}.
   */
  public CircuitSelection onPaths() {
    return new CircuitSelection(rule, size, threshold, signed, true);
  }

  /**
   * The circuit.
   *
   * @throws IllegalArgumentException if the size is greater than the number of edges
   */
  public EdgeSet of(PruneScores scores) {
    ModelGraph graph = scores.graph();
    if (size > graph.nEdges()) {
      throw new IllegalArgumentException(
          String.format(
              Locale.ROOT, "expected a circuit size from 0 to %,d, got %,d", graph.nEdges(), size));
    }
    double[] ranks = scores.toArray();
    if (!signed) {
      Arrays.setAll(ranks, i -> Math.abs(ranks[i]));
    }
    EdgeSet circuit = EdgeSet.ofIndices(graph, chosen(graph, ranks));
    return onPaths ? circuit.onPaths() : circuit;
  }

  private BitSet chosen(ModelGraph graph, double[] ranks) {
    BitSet chosen = new BitSet();
    IntStream numbers = IntStream.range(0, ranks.length).filter(i -> !Double.isNaN(ranks[i]));
    switch (rule) {
      case TOP -> numbers.boxed().sorted(better(ranks)).limit(size).forEach(chosen::set);
      case AT_LEAST -> numbers.filter(i -> ranks[i] >= threshold).forEach(chosen::set);
      case GREEDY -> grow(graph, ranks, chosen);
    }
    return chosen;
  }

  private void grow(ModelGraph graph, double[] ranks, BitSet chosen) {
    UpstreamEdges upstream = UpstreamEdges.of(graph);
    BitSet met = new BitSet();
    PriorityQueue<Integer> candidates = new PriorityQueue<>(better(ranks));
    IntStream next = upstream.ofOutput();
    while (true) {
      next.filter(edge -> !Double.isNaN(ranks[edge]) && !met.get(edge))
          .forEach(
              edge -> {
                met.set(edge);
                candidates.add(edge);
              });
      if (candidates.isEmpty() || chosen.cardinality() == size) {
        return;
      }
      int best = candidates.remove();
      chosen.set(best);
      next = upstream.of(best);
    }
  }

  private static Comparator<Integer> better(double[] ranks) {
    return Comparator.<Integer>comparingDouble(edge -> -ranks[edge])
        .thenComparing(Comparator.naturalOrder());
  }

  /** Describes what is selected. */
  @Override
  public String toString() {
    String edges =
        switch (rule) {
          case TOP -> "the best " + size + " edges";
          case AT_LEAST -> "edges of at least " + threshold;
          case GREEDY -> "the best " + size + " edges that lead to the output";
        };
    return edges + (signed ? ", signed" : "") + (onPaths ? ", on whole paths" : "");
  }
}
