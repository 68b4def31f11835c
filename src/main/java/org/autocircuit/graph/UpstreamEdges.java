package org.autocircuit.graph;

import java.util.OptionalInt;
import java.util.stream.IntStream;

/**
 * Leads from an edge to the edges before it on paths from the input: those into the node that its
 * source is the output of. A head's output depends on its queries, keys and values; in a graph with
 * positions on keys and values of the same and of earlier positions.
 *
 * <p>Immutable; safe to share between threads.
 */
public final class UpstreamEdges {

  private final ModelGraph graph;
  private final NodeOutputs outputs;
  private final int[] modules;
  private final int[][] destsOfSrc;

  private UpstreamEdges(ModelGraph graph) {
    this.graph = graph;
    outputs = NodeOutputs.of(graph);
    modules = new int[graph.dests().size()];
    for (int m = 0; m < graph.destModules().size(); m++) {
      DestModule module = graph.destModules().get(m);
      for (int row = 0; row < module.nDests(); row++) {
        modules[module.firstDest() + row] = m;
      }
    }
    destsOfSrc =
        IntStream.range(0, graph.srcs().size()).mapToObj(outputs::dests).toArray(int[][]::new);
  }

  /** The edges of a graph. */
  public static UpstreamEdges of(ModelGraph graph) {
    return new UpstreamEdges(graph);
  }

  /** The indices of the edges into the end of the residual stream, where every path ends. */
  public IntStream ofOutput() {
    int last = graph.dests().size() - 1;
    return IntStream.range(0, graph.seqLen().orElse(1)).flatMap(position -> into(last, position));
  }

  /**
   * The indices of the edges into the node whose output an edge carries; none if that is the input
   * of the model.
   *
   * @throws IndexOutOfBoundsException if the graph has no edge of this index
   */
  public IntStream of(int index) {
    Edge edge = graph.edge(index);
    int src = edge.src().srcIdx();
    OptionalInt position = edge.position();
    int at = position.orElse(0);
    return IntStream.of(destsOfSrc[src])
        .flatMap(
            dest ->
                IntStream.rangeClosed(outputs.atLaterPositions(dest, src) ? 0 : at, at)
                    .flatMap(from -> into(dest, from)));
  }

  private IntStream into(int dest, int position) {
    DestModule module = graph.destModules().get(modules[dest]);
    int first = module.index(position, dest - module.firstDest(), module.inStart());
    return IntStream.range(first, first + module.nSrcs());
  }
}
