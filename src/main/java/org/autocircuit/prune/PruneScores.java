package org.autocircuit.prune;

import java.util.Arrays;
import java.util.BitSet;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import org.autocircuit.graph.DestModule;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.EdgeCountSelection;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;

/**
 * One score for each edge of a graph; the greater its absolute value, the more the edge matters.
 * Plain Java data: the flat vector that the index of an edge counts in.
 *
 * <p><b>From scores to a circuit.</b> A circuit of {@code k} edges is the set of edges whose
 * absolute score is at least the {@code k}-th greatest one, so where scores tie it has more than
 * {@code k} edges; ask {@link EdgeSet#size}. For {@code k = 0} the threshold is infinite, so edges
 * with an infinite score are in every circuit. Edges whose score is NaN rank last and are in no
 * circuit.
 *
 * <p>Scores are kept in double precision, which holds the results of single precision exactly.
 * Immutable; safe to share between threads. Ranking sorts once and keeps the sorted values.
 *
 * <pre>{@code
 * PruneScores scores = RandomPruneScores.of(graph, 7);
 * EdgeSet circuit = scores.circuit(100);
 * scores.top(10).forEach(System.out::println);
 * }</pre>
 */
public final class PruneScores {

  private final ModelGraph graph;
  private final double[] scores;

  /** Absolute scores in ascending order, NaN last; made on first use. */
  private volatile double[] ascending;

  private PruneScores(ModelGraph graph, double[] scores) {
    this.graph = Objects.requireNonNull(graph, "graph");
    if (scores.length != graph.nEdges()) {
      throw new IllegalArgumentException(
          String.format(
              Locale.ROOT,
              "expected %,d scores for the %s, got %,d",
              graph.nEdges(),
              graph,
              scores.length));
    }
    this.scores = scores;
  }

  /** Scores from a flat vector, which is copied. */
  public static PruneScores of(ModelGraph graph, double[] scores) {
    return new PruneScores(graph, scores.clone());
  }

  /** Scores from a flat vector, which is copied. */
  public static PruneScores of(ModelGraph graph, float[] scores) {
    double[] copy = new double[scores.length];
    Arrays.setAll(copy, i -> scores[i]);
    return new PruneScores(graph, copy);
  }

  /**
   * The same score for all edges; the counterpart of the Python original's {@code
   * new_prune_scores}.
   */
  public static PruneScores filled(ModelGraph graph, double score) {
    double[] scores = new double[graph.nEdges()];
    Arrays.fill(scores, score);
    return new PruneScores(graph, scores);
  }

  /**
   * Scores from one block for each destination module, in row-major order, as in the dictionaries
   * of the Python original.
   *
   * @throws IllegalArgumentException if a module is missing or unknown, or has another size
   */
  public static PruneScores ofModules(ModelGraph graph, Map<String, double[]> blocks) {
    blocks.keySet().forEach(graph::destModule);
    double[] scores = new double[graph.nEdges()];
    for (DestModule module : graph.destModules()) {
      double[] block = blocks.get(module.moduleName());
      if (block == null || block.length != module.size()) {
        throw new IllegalArgumentException(
            "expected %s scores %s for module '%s', got %s"
                .formatted(
                    module.size(),
                    Arrays.toString(module.maskShape()),
                    module.moduleName(),
                    block == null ? "none" : block.length));
      }
      System.arraycopy(block, 0, scores, module.offset(), block.length);
    }
    return new PruneScores(graph, scores);
  }

  /**
   * Score 1 for the edges of a circuit and 0 for all others; with the methods below the counterpart
   * of the Python original's {@code circuit_prune_scores}.
   */
  public static PruneScores ofCircuit(EdgeSet circuit) {
    double[] scores = new double[circuit.graph().nEdges()];
    circuit.indices().forEach(index -> scores[index] = 1);
    return new PruneScores(circuit.graph(), scores);
  }

  /**
   * Score 1 for the given edges and 0 for all others.
   *
   * @throws IllegalArgumentException if an edge is not part of the graph
   */
  public static PruneScores ofCircuit(ModelGraph graph, Collection<Edge> edges) {
    return ofCircuit(EdgeSet.of(graph, edges));
  }

  /**
   * The given scores for the given edges and 0 for all others.
   *
   * @throws IllegalArgumentException if an edge is not part of the graph
   */
  public static PruneScores ofCircuit(ModelGraph graph, Map<Edge, ? extends Number> edges) {
    double[] scores = new double[graph.nEdges()];
    edges.forEach((edge, score) -> scores[graph.index(edge)] = score.doubleValue());
    return new PruneScores(graph, scores);
  }

  /**
   * Score 1 for the edges with the given names, at all positions or as {@code NAME@N} at one, and 0
   * for all others.
   *
   * @throws IllegalArgumentException if there is no edge of some name; suggests the nearest name
   */
  public static PruneScores ofCircuitNames(ModelGraph graph, Collection<String> names) {
    return ofCircuit(EdgeSet.ofNames(graph, names));
  }

  /**
   * The given scores for the edges with the given names, at all positions or as {@code NAME@N} at
   * one, and 0 for all others.
   *
   * @throws IllegalArgumentException if there is no edge of some name; suggests the nearest name
   */
  public static PruneScores ofCircuitNames(ModelGraph graph, Map<String, ? extends Number> names) {
    double[] scores = new double[graph.nEdges()];
    names.forEach(
        (name, score) -> {
          for (int index : graph.indices(name)) {
            scores[index] = score.doubleValue();
          }
        });
    return new PruneScores(graph, scores);
  }

  /** Takes the array over without a copy. */
  static PruneScores wrap(ModelGraph graph, double[] scores) {
    return new PruneScores(graph, scores);
  }

  /** The graph whose edges are scored. */
  public ModelGraph graph() {
    return graph;
  }

  /** Number of scores; the graph's number of edges. */
  public int size() {
    return scores.length;
  }

  /** The score of the edge with the given index. */
  public double get(int index) {
    return scores[index];
  }

  /**
   * The score of an edge.
   *
   * @throws IllegalArgumentException if the edge is not part of the graph
   */
  public double get(Edge edge) {
    return scores[graph.index(edge)];
  }

  /**
   * The score of the edge with the given name; in a graph with positions the name ends in
   * {@code @N}.
   *
   * @throws IllegalArgumentException if there is no such edge, or the graph has positions and the
   *     name has none
   */
  public double get(String name) {
    return scores[graph.index(name)];
  }

  /**
   * The score of the edge with the given name at the given token position.
   *
   * @throws IllegalArgumentException if there is no such edge
   */
  public double get(String name, int position) {
    return scores[graph.index(name, position)];
  }

  /** A copy of the flat vector. */
  public double[] toArray() {
    return scores.clone();
  }

  /** A copy of the flat vector, rounded to single precision: usable as masks. */
  public float[] toFloatArray() {
    float[] copy = new float[scores.length];
    for (int i = 0; i < copy.length; i++) {
      copy[i] = (float) scores[i];
    }
    return copy;
  }

  /**
   * The scores of the edges into one destination module.
   *
   * @throws IllegalArgumentException if no destination is at that hook point
   */
  public ModuleScores module(String moduleName) {
    return new ModuleScores(graph.destModule(moduleName), scores);
  }

  /** The scores of all destination modules in flat order. */
  public List<ModuleScores> modules() {
    return graph.destModules().stream().map(module -> new ModuleScores(module, scores)).toList();
  }

  /**
   * The least absolute score of an edge in the circuit of the given size; the counterpart of the
   * Python original's {@code prune_scores_threshold}.
   *
   * @param edgeCount the size asked for
   * @return infinity for size 0, else the absolute score of rank {@code edgeCount}; where that is
   *     NaN the least one that is not, or infinity if there is none
   * @throws IllegalArgumentException if the size is negative or more than the number of edges
   */
  public double threshold(int edgeCount) {
    if (edgeCount < 0 || edgeCount > scores.length) {
      throw new IllegalArgumentException(
          String.format(
              Locale.ROOT,
              "expected a circuit size from 0 to %,d, got %,d",
              scores.length,
              edgeCount));
    }
    if (edgeCount == 0) {
      return Double.POSITIVE_INFINITY;
    }
    int n = nonNan();
    return n == 0 ? Double.POSITIVE_INFINITY : ascending()[Math.max(n - edgeCount, 0)];
  }

  /**
   * The circuit of the given size: all edges whose absolute score is at least {@link #threshold}.
   * Ties can make it larger.
   *
   * @throws IllegalArgumentException if the size is negative or more than the number of edges
   */
  public EdgeSet circuit(int edgeCount) {
    return circuitAtLeast(threshold(edgeCount));
  }

  /**
   * Refuses scores that select no circuit, since all of them are equal.
   *
   * @throws IllegalArgumentException if they are
   */
  public void requireDifferent() {
    double first = Math.abs(scores[0]);
    if (Arrays.stream(scores).allMatch(score -> Math.abs(score) == first)) {
      throw new IllegalArgumentException(
          String.format(
              Locale.ROOT,
              "all %,d edges have the same score, %s: the prompts tell none from another; do clean"
                  + " and corrupt prompts differ in what decides the answer?",
              scores.length,
              first));
    }
  }

  /** All edges whose absolute score is at least the threshold. */
  public EdgeSet circuitAtLeast(double threshold) {
    BitSet indices = new BitSet(scores.length);
    for (int i = 0; i < scores.length; i++) {
      if (Math.abs(scores[i]) >= threshold) {
        indices.set(i);
      }
    }
    return EdgeSet.ofIndices(graph, indices);
  }

  /** The absolute scores in descending order, NaN last. */
  public double[] descending() {
    double[] ascending = ascending();
    double[] descending = ascending.clone();
    int n = nonNan();
    for (int i = 0; i < n; i++) {
      descending[i] = ascending[n - 1 - i];
    }
    return descending;
  }

  /**
   * All edges by descending absolute score, NaN last; ties by edge index. An unmodifiable view
   * whose elements are made when they are asked for.
   */
  public List<ScoredEdge> sorted() {
    int[] all = new int[scores.length];
    Arrays.setAll(all, i -> i);
    return Ranking.of(this, all, ascending(), nonNan());
  }

  /** The edges of the greatest absolute scores, at most the given number of them, ties by index. */
  public List<ScoredEdge> top(int count) {
    int size = Math.min(count, scores.length);
    if (size > nonNan()) {
      return List.copyOf(sorted().subList(0, size));
    }
    // Those above the threshold, and of those at it as many as there is room for.
    double threshold = threshold(size);
    int above = 0;
    for (double score : scores) {
      above += Math.abs(score) > threshold ? 1 : 0;
    }
    int[] edges = new int[size];
    int ties = size - above;
    int taken = 0;
    for (int i = 0; i < scores.length && taken < size; i++) {
      double score = Math.abs(scores[i]);
      if (score > threshold || (score == threshold && ties-- > 0)) {
        edges[taken++] = i;
      }
    }
    double[] ascending = new double[size];
    Arrays.setAll(ascending, i -> Math.abs(scores[edges[i]]));
    Arrays.sort(ascending);
    return List.copyOf(Ranking.of(this, edges, ascending, size));
  }

  /** The circuit sizes to test for these scores, ready for settings of one's own. */
  public EdgeCountSelection edgeCounts() {
    return EdgeCountSelection.of(scores.length).scores(scores);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof PruneScores that
        && graph.equals(that.graph)
        && Arrays.equals(scores, that.scores);
  }

  @Override
  public int hashCode() {
    return Arrays.hashCode(scores);
  }

  /** Returns what is scored. */
  @Override
  public String toString() {
    return "scores of a " + graph;
  }

  private double[] ascending() {
    double[] sorted = ascending;
    if (sorted == null) {
      sorted = new double[scores.length];
      for (int i = 0; i < sorted.length; i++) {
        sorted[i] = Math.abs(scores[i]);
      }
      Arrays.sort(sorted);
      ascending = sorted;
    }
    return sorted;
  }

  private int nonNan() {
    double[] ascending = ascending();
    return Ranking.firstAbove(ascending, ascending.length, Double.POSITIVE_INFINITY);
  }
}
