package org.autocircuit.prune;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Objects;
import java.util.function.UnaryOperator;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.pass.Progress;

/**
 * Trains masks for a circuit of each of several sizes ({@link SubnetworkProbing}), and scores edges
 * by the smallest circuit that they are in: with three sizes those of the smallest have 3, those
 * that only the greatest has 1, those in none 0. The counterpart of the Python original's {@code
 * circuit_probing_prune_scores}; its {@code "true_size"} is the size of a circuit that is known.
 *
 * <p>Immutable; safe to share between threads.
 */
public final class CircuitProbing implements PruneAlgorithm {

  private final List<SubnetworkProbing> probings;
  private final int[] sizes;

  private CircuitProbing(int[] sizes, UnaryOperator<SubnetworkProbing.Builder> settings) {
    this.sizes = sizes;
    probings = Arrays.stream(sizes).mapToObj(size -> ofSize(size, settings)).toList();
  }

  /**
   * Makes the algorithm with the settings that {@link SubnetworkProbing#builder} begins with, but
   * masks at -ln 5, which in tree patching is toward the circuit being whole, as in the original.
   *
   * @param sizes numbers of edges, in any order
   * @throws IllegalArgumentException if there is none, if one is less than 1, or one comes twice
   */
  public static CircuitProbing ofSizes(int... sizes) {
    int[] ascending = sizes.clone();
    Arrays.sort(ascending);
    if (sizes.length == 0
        || ascending[0] < 1
        || Arrays.stream(ascending).distinct().count() < sizes.length) {
      throw new IllegalArgumentException(
          "sizes: expected different positive numbers, got " + Arrays.toString(sizes));
    }
    return new CircuitProbing(ascending, UnaryOperator.identity());
  }

  /**
   * This algorithm with other settings of its trainings, all but the circuit's size.
   *
   * @param settings changes those that {@link #ofSizes} begins with
   * @throws IllegalArgumentException if it sets a circuit size, or settings do not go together
   */
  public CircuitProbing withSettings(UnaryOperator<SubnetworkProbing.Builder> settings) {
    return new CircuitProbing(sizes, settings);
  }

  private static SubnetworkProbing ofSize(
      int size, UnaryOperator<SubnetworkProbing.Builder> settings) {
    SubnetworkProbing.Builder builder =
        settings.apply(SubnetworkProbing.builder().initialValue(-Math.log(5)));
    builder.settings.refuse("circuits have several sizes", "circuitSize");
    return builder.circuitSize(size).build();
  }

  /**
   * Scores of circuits found in any way.
   *
   * @param circuits at least one, the most important first
   * @throws IllegalArgumentException if there is none, or if they are of different graphs
   */
  public static PruneScores ofCircuits(List<EdgeSet> circuits) {
    if (circuits.isEmpty()) {
      throw new IllegalArgumentException("circuits: expected at least one, got none");
    }
    double[] scores = new double[circuits.get(0).graph().nEdges()];
    for (int i = circuits.size() - 1; i >= 0; i--) {
      if (!circuits.get(i).graph().equals(circuits.get(0).graph())) {
        throw new IllegalArgumentException("circuits: expected all of one graph");
      }
      int score = circuits.size() - i;
      circuits.get(i).indices().forEach(edge -> scores[edge] = score);
    }
    return PruneScores.of(circuits.get(0).graph(), scores);
  }

  @Override
  public String name() {
    return "circuit probing";
  }

  @Override
  public String unit() {
    return "none";
  }

  @Override
  public ScoreSign sign() {
    return ScoreSign.UNSIGNED;
  }

  /**
   * Trains masks for each size from the least, and returns the scores of the circuits.
   *
   * @param progress is told of each step: sizes times epochs times batches
   * @throws StoppedException if it was stopped; has the {@code PruneScores} of the circuits done,
   *     the last of a training that was broken off
   */
  @Override
  public PruneScores pruneScores(
      PatchableModel model, Collection<? extends PromptPairBatch> batches, Progress progress) {
    Objects.requireNonNull(progress, "progress");
    List<EdgeSet> circuits = new ArrayList<>();
    for (SubnetworkProbing probing : probings) {
      int before = circuits.size();
      Progress ofAll =
          (done, total) -> progress.report(before * total + done, sizes.length * total);
      try {
        circuits.add(probing.pruneScores(model, batches, ofAll).circuit(sizes[before]));
      } catch (StoppedException e) {
        e.partial(PruneScores.class).ifPresent(some -> circuits.add(some.circuit(sizes[before])));
        throw new StoppedException(e, circuits.isEmpty() ? null : ofCircuits(circuits));
      }
    }
    return ofCircuits(circuits);
  }
}
