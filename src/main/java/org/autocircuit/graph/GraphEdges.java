package org.autocircuit.graph;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.Set;

/**
 * The seven results of the Python original's {@code graph_edges}. The edge lists are views on the
 * graph; all collections are unmodifiable.
 */
public final class GraphEdges {

  /** Activations of all supported models begin with {@code [batch, seq]}. */
  private static final int SEQ_DIM = 1;

  private final ModelGraph graph;

  GraphEdges(ModelGraph graph) {
    this.graph = graph;
  }

  /** Returns the graph that these are the results of. */
  public ModelGraph graph() {
    return graph;
  }

  /** Returns all nodes: the sources, then the destinations. */
  public Set<Node> nodes() {
    return Collections.unmodifiableSet(new LinkedHashSet<>(graph.nodes()));
  }

  /** Returns the sources in the order of a forward pass. */
  public Set<SrcNode> srcs() {
    return Collections.unmodifiableSet(new LinkedHashSet<>(graph.srcs()));
  }

  /** Returns the destinations in flat order. */
  public Set<DestNode> dests() {
    return Collections.unmodifiableSet(new LinkedHashSet<>(graph.dests()));
  }

  /**
   * Returns the edges of each token position; one entry with an empty key if the graph has no
   * positions.
   */
  public Map<OptionalInt, List<Edge>> edgeDict() {
    Map<OptionalInt, List<Edge>> byPosition = new LinkedHashMap<>();
    if (graph.seqLen().isPresent()) {
      for (int position = 0; position < graph.seqLen().getAsInt(); position++) {
        byPosition.put(OptionalInt.of(position), graph.edgesAt(position));
      }
    } else {
      byPosition.put(OptionalInt.empty(), graph.edges());
    }
    return Collections.unmodifiableMap(byPosition);
  }

  /** Returns all edges by index. */
  public List<Edge> edges() {
    return graph.edges();
  }

  /** Returns the dimension of activations that counts token positions. */
  public int seqDim() {
    return SEQ_DIM;
  }

  /** Returns the number of token positions, or empty. */
  public OptionalInt seqLen() {
    return graph.seqLen();
  }

  /** Returns whether the other ones are results of an equal graph. */
  @Override
  public boolean equals(Object other) {
    return other instanceof GraphEdges that && graph.equals(that.graph);
  }

  @Override
  public int hashCode() {
    return graph.hashCode();
  }

  @Override
  public String toString() {
    return "edges of " + graph;
  }
}
