package org.autocircuit.eval;

import java.util.ArrayList;
import java.util.BitSet;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.UpstreamEdges;

/**
 * Tests whether a circuit needs each of its edges: the minimality test of Shi et al. 2024
 * (2410.13032). The effect of an edge is the mean over prompts of the absolute change of the metric
 * when the edge is left out of the circuit. It is compared with edges that are not needed: those of
 * inflated circuits, to each of which a random path from the input to the output was added, and of
 * which a random edge of those added is left out again. The null hypothesis for an edge is that its
 * effect is greater than such an edge's with probability {@code quantile} at least; the p-value is
 * the binomial probability of as few greater effects as were seen. A small p-value says that the
 * edge is not needed more than edges drawn at random.
 *
 * <p>As many tests as there are edges: {@link #isRejected} divides the level by their number
 * (Bonferroni). Paths are drawn from the output back to the input, each step evenly among the edges
 * into a node. Plain Java data, immutable.
 *
 * @param conditions how effects were measured
 * @param circuitEdges edges of the circuit
 * @param quantile see above
 * @param randomCircuits number of inflated circuits
 * @param edges one for each edge of the circuit
 */
public record CircuitMinimality(
    Conditions conditions,
    int circuitEdges,
    double quantile,
    int randomCircuits,
    List<EdgeTest> edges) {

  /** The paper's number of inflated circuits. */
  public static final int RANDOM_CIRCUITS = 100;

  /** The paper's quantile. */
  public static final double QUANTILE = 0.9;

  /** Paths drawn at most until one has an edge that the circuit lacks. */
  private static final int ATTEMPTS = 100_000;

  /**
   * One edge of the circuit.
   *
   * @param edge the edge
   * @param effect the mean absolute change of the metric without it
   * @param greaterThan the share of the random edges whose effect is less, 0 to 1
   * @param pValue small where the edge is not needed
   */
  public record EdgeTest(Edge edge, double effect, double greaterThan, double pValue) {}

  /** Copies the edges. */
  public CircuitMinimality {
    edges = List.copyOf(edges);
  }

  /**
   * Tests the edges of a circuit with the paper's quantile and number of random circuits, which
   * takes 200 circuits to run and one more for each edge.
   *
   * @throws IllegalArgumentException as the other method
   */
  public static CircuitMinimality measure(
      Evaluation evaluation,
      PatchableModel model,
      Collection<? extends PromptPairBatch> batches,
      EdgeSet circuit,
      long seed) {
    return measure(evaluation, model, batches, circuit, RANDOM_CIRCUITS, QUANTILE, seed);
  }

  /**
   * Tests the edges of a circuit.
   *
   * @param randomCircuits at least 1
   * @param quantile between 0 and 1
   * @param seed of the random paths and edges
   * @throws IllegalArgumentException if there is no batch, the circuit is of another graph, it has
   *     no edge, or all edges, so that no path can be added, or a number is out of its range
   * @throws org.autocircuit.exception.NotFiniteException if a logit is NaN or infinite
   * @throws org.autocircuit.exception.StoppedException if it was stopped
   */
  public static CircuitMinimality measure(
      Evaluation evaluation,
      PatchableModel model,
      Collection<? extends PromptPairBatch> batches,
      EdgeSet circuit,
      int randomCircuits,
      double quantile,
      long seed) {
    if (circuit.size() == 0 || circuit.size() == circuit.graph().nEdges()) {
      throw new IllegalArgumentException(
          "circuit: expected some edges, but not all, got " + circuit);
    }
    if (randomCircuits < 1 || !(quantile > 0 && quantile < 1)) {
      throw new IllegalArgumentException(
          "expected at least one random circuit and a quantile between 0 and 1, got %s and %s"
              .formatted(randomCircuits, quantile));
    }
    SplittableRandom random = new SplittableRandom(seed);
    List<EdgeSet> circuits = new ArrayList<>(List.of(circuit));
    int[] own = circuit.indices().toArray();
    for (int edge : own) {
      circuits.add(without(circuit, edge));
    }
    for (int i = 0; i < randomCircuits; i++) {
      int[] added = addedPath(circuit, random);
      EdgeSet inflated = with(circuit, added);
      circuits.add(inflated);
      circuits.add(without(inflated, added[random.nextInt(added.length)]));
    }
    List<PromptValues> values = evaluation.measure(model, batches, circuits);
    double[] references = new double[randomCircuits];
    for (int i = 0; i < randomCircuits; i++) {
      int at = 1 + own.length + 2 * i;
      references[i] = values.get(at).distance(values.get(at + 1));
    }
    List<EdgeTest> tests = new ArrayList<>();
    for (int i = 0; i < own.length; i++) {
      double effect = values.get(0).distance(values.get(1 + i));
      int greater = 0;
      for (double reference : references) {
        greater += effect > reference ? 1 : 0;
      }
      int seen = greater;
      tests.add(
          new EdgeTest(
              circuit.graph().edge(own[i]),
              effect,
              (double) greater / randomCircuits,
              Binomial.probability(randomCircuits, quantile, k -> k <= seen)));
    }
    return new CircuitMinimality(
        values.get(0).conditions(), circuit.size(), quantile, randomCircuits, tests);
  }

  /**
   * Returns whether the test says that the circuit is not minimal: of an edge the p-value is less
   * than the level divided by the number of edges.
   *
   * @param level for instance 0.05
   */
  public boolean isRejected(double level) {
    return edges.stream().anyMatch(test -> test.pValue() < level / edges.size());
  }

  /** The conditions, and a line for each edge. */
  @Override
  public String toString() {
    StringBuilder text =
        new StringBuilder(
            String.format(
                Locale.ROOT,
                "%,d edges against %d random ones, quantile %.2f; %s%n",
                circuitEdges,
                randomCircuits,
                quantile,
                conditions));
    for (EdgeTest test : edges) {
      text.append(
          String.format(
              Locale.ROOT,
              "  %s: effect %.4f, greater than %.0f %%, p = %.3g%n",
              test.edge(),
              test.effect(),
              100 * test.greaterThan(),
              test.pValue()));
    }
    return text.toString();
  }

  /** The edges of a random path that the circuit lacks; at least one. */
  private static int[] addedPath(EdgeSet circuit, SplittableRandom random) {
    UpstreamEdges upstream = UpstreamEdges.of(circuit.graph());
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
      List<Integer> added = new ArrayList<>();
      int[] choices = upstream.ofOutput().toArray();
      while (choices.length > 0) {
        int edge = choices[random.nextInt(choices.length)];
        if (!circuit.contains(edge)) {
          added.add(edge);
        }
        choices = upstream.of(edge).toArray();
      }
      if (!added.isEmpty()) {
        return added.stream().mapToInt(Integer::intValue).toArray();
      }
    }
    throw new IllegalArgumentException(
        "circuit: expected one that random paths add edges to, got " + circuit);
  }

  private static EdgeSet with(EdgeSet circuit, int[] edges) {
    BitSet bits = bits(circuit);
    for (int edge : edges) {
      bits.set(edge);
    }
    return EdgeSet.ofIndices(circuit.graph(), bits);
  }

  private static EdgeSet without(EdgeSet circuit, int edge) {
    BitSet bits = bits(circuit);
    bits.clear(edge);
    return EdgeSet.ofIndices(circuit.graph(), bits);
  }

  private static BitSet bits(EdgeSet circuit) {
    BitSet bits = new BitSet();
    circuit.indices().forEach(bits::set);
    return bits;
  }
}
