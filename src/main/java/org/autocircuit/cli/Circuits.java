package org.autocircuit.cli;

import org.autocircuit.graph.EdgeSet;
import org.autocircuit.prune.CircuitSelection;
import org.autocircuit.prune.PruneScores;

/** Circuits of an exact number of edges. */
final class Circuits {

  private Circuits() {}

  /** The best edges, ties by index. */
  static EdgeSet top(PruneScores scores, int size, boolean signed) {
    CircuitSelection selection = CircuitSelection.top(size);
    return (signed ? selection.signed() : selection).of(scores);
  }
}
