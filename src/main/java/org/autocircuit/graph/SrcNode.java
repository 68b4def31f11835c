package org.autocircuit.graph;

import java.util.Optional;
import java.util.OptionalInt;

/**
 * A node whose output is added to the residual stream: the embedding, an attention head, an MLP, or
 * in a residual graph also the stream itself between two sub-layers.
 */
public final class SrcNode extends Node {

  private final int srcIdx;

  SrcNode(
      String name,
      String moduleName,
      int layer,
      OptionalInt headIdx,
      OptionalInt headDim,
      Optional<String> weight,
      OptionalInt weightHeadDim,
      int srcIdx) {
    super(name, moduleName, layer, headIdx, headDim, weight, weightHeadDim);
    this.srcIdx = srcIdx;
  }

  /**
   * Returns the position among all sources, in the order in which a forward pass computes them; row
   * of the source in a {@code [n_srcs, batch, seq, d_model]} tensor of source activations.
   */
  public int srcIdx() {
    return srcIdx;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof SrcNode that && isLike(that) && srcIdx == that.srcIdx;
  }
}
