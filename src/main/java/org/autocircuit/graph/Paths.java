package org.autocircuit.graph;

import java.util.BitSet;
import java.util.function.IntPredicate;

/**
 * Finds the edges of a set that lie on a path from the input to the output, through edges of the
 * set alone. Positions count where the graph has them: a head carries what its keys and values read
 * to the same and to later positions, everything else stays where it is.
 */
final class Paths {

  private final EdgeSet edges;
  private final ModelGraph graph;
  private final NodeOutputs outputs;
  private final int positions;

  /** For each source the positions at which it depends on the input. */
  private final BitSet[] reached;

  /** For each source the positions at which the output depends on it. */
  private final BitSet[] needed;

  private Paths(EdgeSet edges) {
    this.edges = edges;
    graph = edges.graph();
    outputs = NodeOutputs.of(graph);
    positions = graph.seqLen().orElse(1);
    reached = perSource();
    needed = perSource();
  }

  static EdgeSet edgesOn(EdgeSet edges) {
    Paths paths = new Paths(edges);
    paths.findReached();
    return EdgeSet.ofIndices(edges.graph(), paths.neededOfReached());
  }

  private void findReached() {
    for (int src : outputs.inputs()) {
      reached[src].set(0, positions);
    }
    for (DestModule module : graph.destModules()) {
      for (int row = 0; row < module.nDests(); row++) {
        int dest = module.firstDest() + row;
        for (int position = 0; position < positions; position++) {
          if (anyEdge(module, row, position, reached)) {
            for (int src : outputs.of(dest)) {
              reached[src].set(
                  position, outputs.atLaterPositions(dest, src) ? positions : position + 1);
            }
          }
        }
      }
    }
  }

  /** Walks back from the output, and collects edges that start where the input reaches. */
  private BitSet neededOfReached() {
    BitSet found = new BitSet();
    for (int m = graph.destModules().size() - 1; m >= 0; m--) {
      DestModule module = graph.destModules().get(m);
      for (int row = 0; row < module.nDests(); row++) {
        for (int position = 0; position < positions; position++) {
          if (!isNeeded(module.firstDest() + row, position)) {
            continue;
          }
          int at = position;
          forEachEdge(
              module,
              row,
              position,
              src -> {
                if (reached[src].get(at)) {
                  needed[src].set(at);
                  return true;
                }
                return false;
              },
              found);
        }
      }
    }
    return found;
  }

  private boolean isNeeded(int dest, int position) {
    int[] behind = outputs.of(dest);
    if (behind.length == 0) {
      return true; // the end of the residual stream
    }
    for (int src : behind) {
      boolean later = outputs.atLaterPositions(dest, src);
      if (later ? needed[src].length() > position : needed[src].get(position)) {
        return true;
      }
    }
    return false;
  }

  private boolean anyEdge(DestModule module, int row, int position, BitSet[] from) {
    BitSet found = new BitSet();
    forEachEdge(module, row, position, src -> from[src].get(position), found);
    return !found.isEmpty();
  }

  /** Adds the edges of the set into one destination whose source is accepted. */
  private void forEachEdge(
      DestModule module, int row, int position, IntPredicate accepts, BitSet found) {
    for (int src = module.inStart(); src < module.inStop(); src++) {
      int index = module.index(position, row, src);
      if (edges.contains(index) && accepts.test(src)) {
        found.set(index);
      }
    }
  }

  private BitSet[] perSource() {
    BitSet[] sets = new BitSet[graph.srcs().size()];
    for (int i = 0; i < sets.length; i++) {
      sets[i] = new BitSet(positions);
    }
    return sets;
  }
}
