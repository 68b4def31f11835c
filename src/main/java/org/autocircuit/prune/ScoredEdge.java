package org.autocircuit.prune;

import org.autocircuit.graph.Edge;

/**
 * An edge and its score.
 *
 * @param edge the edge
 * @param score its score; ranking goes by the absolute value
 */
public record ScoredEdge(Edge edge, double score) {

  /** The edge's name and the score. */
  @Override
  public String toString() {
    return edge + ": " + score;
  }
}
