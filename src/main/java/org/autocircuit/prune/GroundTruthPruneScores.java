package org.autocircuit.prune;

import java.util.Collection;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.ModelGraph;

/** Scores of a circuit that is known to be right: what other algorithms are measured against. */
public final class GroundTruthPruneScores {

  private GroundTruthPruneScores() {}

  /**
   * Score 1 for the true edges and 0 for all others.
   *
   * @throws IllegalArgumentException if an edge is not part of the graph
   */
  public static PruneScores of(ModelGraph graph, Collection<Edge> trueEdges) {
    return PruneScores.ofCircuit(graph, trueEdges);
  }
}
