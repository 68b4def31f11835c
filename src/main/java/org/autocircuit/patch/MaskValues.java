package org.autocircuit.patch;

import java.util.OptionalInt;
import org.autocircuit.graph.ModelGraph;

/**
 * One mask value for each edge of a graph: 0 keeps what the source put out, 1 takes what it is
 * patched with. Either {@link Masks}, immutable and shareable, or {@link MaskParameters}, which can
 * be changed and trained.
 */
public sealed interface MaskValues permits Masks, MaskParameters {

  /** The graph whose edges are masked. */
  ModelGraph graph();

  /** Number of examples of a batch that have values of their own; empty if all share one set. */
  OptionalInt examples();

  /** The values in the order of edge indices; of masks for each example, one row after another. */
  double[] toArray();
}
