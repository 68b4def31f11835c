package org.autocircuit.prune;

import java.util.Locale;
import org.autocircuit.graph.Edge;

/**
 * An edge and its score.
 *
 * @param edge the edge
 * @param score its score; ranking goes by the absolute value
 */
public record ScoredEdge(Edge edge, double score) {

  /** The edge's name and the score with four digits. */
  @Override
  public String toString() {
    return String.format(Locale.ROOT, "%s: %.4g", edge, score);
  }
}
