package org.autocircuit.prune;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import org.autocircuit.graph.EdgeSet;

/**
 * The edges of a circuit with their scores, as a file holds them; see {@link PruneScoresJson}.
 * Plain Java data, immutable.
 *
 * @param scores those of edges outside the circuit do not count
 * @param edges the circuit
 * @param properties what the file says of it: name to value
 */
public record CircuitScores(PruneScores scores, EdgeSet edges, Map<String, String> properties) {

  /**
   * Copies the properties.
   *
   * @throws IllegalArgumentException if scores and edges are those of different graphs
   */
  public CircuitScores {
    if (!scores.graph().equals(edges.graph())) {
      throw new IllegalArgumentException(
          "edges: expected those of a %s, got those of a %s"
              .formatted(scores.graph(), edges.graph()));
    }
    properties = Collections.unmodifiableMap(new LinkedHashMap<>(properties));
  }
}
