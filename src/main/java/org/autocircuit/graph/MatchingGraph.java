package org.autocircuit.graph;

import java.util.ArrayList;
import java.util.List;
import java.util.OptionalInt;
import org.autocircuit.model.BlockKind;
import org.autocircuit.model.ModelConfig;
import org.autocircuit.model.TransformerConfig;

/** Finds the graph of a model whose nodes were given. */
final class MatchingGraph {

  private MatchingGraph() {}

  /**
   * The graph that has these nodes.
   *
   * @throws IllegalArgumentException if the model has no such graph
   */
  static ModelGraph of(ModelConfig config, GraphEdges edges) {
    for (ModelGraph graph : all(config, edges.seqLen())) {
      GraphEdges candidate = graph.graphEdges();
      if (candidate.srcs().equals(edges.srcs()) && candidate.dests().equals(edges.dests())) {
        return graph;
      }
    }
    throw new IllegalArgumentException(
        "edges: expected the nodes of a graph of %s, got %s and %s"
            .formatted(config, edges.srcs(), edges.dests()));
  }

  private static List<ModelGraph> all(ModelConfig config, OptionalInt seqLen) {
    List<ModelGraph> graphs = new ArrayList<>();
    for (boolean separateQkv : new boolean[] {true, false}) {
      ModelGraph graph = ModelGraph.of(config, true, separateQkv, seqLen);
      graphs.add(graph);
      graphs.add(graph.ungroupKeyValues());
    }
    boolean parallel =
        config instanceof TransformerConfig transformer
            && transformer.blockKind() == BlockKind.PARALLEL;
    if (!parallel) {
      graphs.add(ModelGraph.of(config, false, false, seqLen));
    }
    return graphs;
  }
}
