package org.autocircuit.cli;

import org.autocircuit.graph.EdgeSet;
import org.autocircuit.prune.CircuitSelection;
import org.autocircuit.prune.PruneScores;

/** Sizes of circuits, and circuits that have exactly these. */
final class Circuits {

  private Circuits() {}

  /**
   * The number of edges that a share of all is, rounded down, as the Mechanistic Interpretability
   * Benchmark does; at least 1.
   */
  static int size(int nEdges, double share) {
    return Math.max(1, (int) (share * nEdges));
  }

  /** The best edges, ties by index. */
  static EdgeSet top(PruneScores scores, int size, boolean signed) {
    CircuitSelection selection = CircuitSelection.top(size);
    return (signed ? selection.signed() : selection).of(scores);
  }
}
