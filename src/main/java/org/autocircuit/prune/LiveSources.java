package org.autocircuit.prune;

import java.util.Arrays;
import java.util.List;
import org.autocircuit.graph.DestModule;
import org.autocircuit.graph.DestNode;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.graph.SrcNode;

/**
 * Which sources are still read while edges are taken away. What feeds only sources that nobody
 * reads has no effect on the output. Mutable, for one thread.
 */
final class LiveSources {

  private final ModelGraph graph;

  /** For each destination the sources that its node writes; none: it is the model's output. */
  private final int[][] written;

  /** For each source the number of edges that still read it. */
  private final int[] readers;

  private LiveSources(ModelGraph graph, int[][] written, int[] readers) {
    this.graph = graph;
    this.written = written;
    this.readers = readers;
  }

  /** All edges there. */
  static LiveSources of(ModelGraph graph) {
    int[] readers = new int[graph.srcs().size()];
    for (DestModule module : graph.destModules()) {
      for (int src = module.inStart(); src < module.inStop(); src++) {
        readers[src] += module.size() / module.nSrcs();
      }
    }
    List<DestNode> dests = graph.dests();
    int[][] written = new int[dests.size()][];
    for (DestModule module : graph.destModules()) {
      for (int dest = module.firstDest(); dest < module.firstDest() + module.nDests(); dest++) {
        DestNode node = dests.get(dest);
        written[dest] =
            graph.srcs().stream()
                .filter(src -> writes(graph, module, node, src))
                .mapToInt(SrcNode::srcIdx)
                .toArray();
      }
    }
    return new LiveSources(graph, written, readers);
  }

  /**
   * Whether a source may depend on a destination directly: they are of one layer, and not of
   * different heads. Query heads that share keys and values depend on the shared ones.
   */
  private static boolean writes(ModelGraph graph, DestModule module, DestNode dest, SrcNode src) {
    if (src.layer() != dest.layer()) {
      return false;
    }
    if (dest.headIdx().isEmpty() || src.headIdx().isEmpty()) {
      return true;
    }
    int sharing = graph.config().nHeads() / module.nDests();
    return src.headIdx().getAsInt() / sharing == dest.headIdx().getAsInt();
  }

  LiveSources copy() {
    return new LiveSources(graph, written, readers.clone());
  }

  /** Takes an edge away. */
  void remove(int edge) {
    DestModule module = graph.destModule(edge);
    readers[module.inStart() + (edge - module.offset()) % module.nSrcs()]--;
  }

  /**
   * Whether an edge certainly has no effect. Never in a residual graph, where the stream leads past
   * the edges.
   */
  boolean isDead(int edge) {
    if (!graph.factorized()) {
      return false;
    }
    DestModule module = graph.destModule(edge);
    int row = (edge - module.offset()) / module.nSrcs() % module.nDests();
    int[] sources = written[module.firstDest() + row];
    return sources.length > 0 && Arrays.stream(sources).allMatch(src -> readers[src] == 0);
  }
}
