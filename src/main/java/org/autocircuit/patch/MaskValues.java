package org.autocircuit.patch;

import org.autocircuit.graph.ModelGraph;

/**
 * One mask value for each edge of a graph: 0 keeps what the source put out, 1 takes what it is
 * patched with. Either {@link Masks}, immutable and shareable, or {@link MaskParameters}, which can
 * be changed and trained.
 */
public sealed interface MaskValues permits Masks, MaskParameters {

  /** The graph whose edges are masked. */
  ModelGraph graph();

  /** The values in the order of edge indices; of masks for each example, one row after another. */
  double[] toArray();
}
