package org.autocircuit.prune;

import java.util.Collection;
import java.util.Objects;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.pass.Progress;

/**
 * Scores a circuit that is known to be right: what other algorithms are measured against. Prompts
 * are not looked at.
 *
 * <p>Immutable; safe to share between threads.
 */
public final class GroundTruthPruneScores implements PruneAlgorithm {

  private final EdgeSet trueEdges;

  private GroundTruthPruneScores(EdgeSet trueEdges) {
    this.trueEdges = Objects.requireNonNull(trueEdges, "trueEdges");
  }

  /** Makes the algorithm that gives the edges of a circuit score 1, and all others 0. */
  public static GroundTruthPruneScores ofCircuit(EdgeSet trueEdges) {
    return new GroundTruthPruneScores(trueEdges);
  }

  /**
   * Score 1 for the true edges and 0 for all others.
   *
   * @throws IllegalArgumentException if an edge is not part of the graph
   */
  public static PruneScores of(ModelGraph graph, Collection<Edge> trueEdges) {
    return PruneScores.ofCircuit(graph, trueEdges);
  }

  @Override
  public String name() {
    return "ground truth";
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
   * Score 1 for the true edges and 0 for all others, in one step.
   *
   * @throws IllegalArgumentException if the circuit is one of another graph
   */
  @Override
  public PruneScores pruneScores(
      PatchableModel model, Collection<? extends PromptPairBatch> batches, Progress progress) {
    if (!trueEdges.graph().equals(model.graph())) {
      throw new IllegalArgumentException(
          "trueEdges: expected those of %s, got %s".formatted(model.graph(), trueEdges.graph()));
    }
    PruneScores scores = PruneScores.ofCircuit(trueEdges);
    progress.report(1, 1);
    return scores;
  }
}
