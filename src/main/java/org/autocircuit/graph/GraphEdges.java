package org.autocircuit.graph;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.Set;
import org.autocircuit.model.ModelConfig;

/**
 * The seven results of the Python original's {@code graph_edges}. The edge lists are views on the
 * graph; all collections are unmodifiable.
 *
 * @param nodes all nodes: the sources, then the destinations
 * @param srcs the sources in the order of a forward pass
 * @param dests the destinations in flat order
 * @param edgeDict the edges of each token position; one entry with an empty key if the graph has no
 *     positions
 * @param edges all edges by index
 * @param seqDim the dimension of activations that counts token positions
 * @param seqLen number of token positions, or empty
 */
public record GraphEdges(
    Set<Node> nodes,
    Set<SrcNode> srcs,
    Set<DestNode> dests,
    Map<OptionalInt, List<Edge>> edgeDict,
    List<Edge> edges,
    int seqDim,
    OptionalInt seqLen) {

  /** Activations of all supported models begin with {@code [batch, seq]}. */
  private static final int SEQ_DIM = 1;

  /**
   * The graph of a model that has these nodes.
   *
   * @throws IllegalArgumentException if the model has no such graph
   */
  public ModelGraph graph(ModelConfig config) {
    return MatchingGraph.of(config, this);
  }

  static GraphEdges of(ModelGraph graph) {
    Map<OptionalInt, List<Edge>> byPosition = new LinkedHashMap<>();
    if (graph.seqLen().isPresent()) {
      for (int position = 0; position < graph.seqLen().getAsInt(); position++) {
        byPosition.put(OptionalInt.of(position), graph.edgesAt(position));
      }
    } else {
      byPosition.put(OptionalInt.empty(), graph.edges());
    }
    return new GraphEdges(
        Collections.unmodifiableSet(new LinkedHashSet<>(graph.nodes())),
        Collections.unmodifiableSet(new LinkedHashSet<>(graph.srcs())),
        Collections.unmodifiableSet(new LinkedHashSet<>(graph.dests())),
        Collections.unmodifiableMap(byPosition),
        graph.edges(),
        SEQ_DIM,
        graph.seqLen());
  }
}
