package org.autocircuit.graph;

import java.util.Optional;
import java.util.OptionalInt;

/**
 * A node whose output is added to the residual stream: the embedding, an attention head, an MLP, or
 * in a residual graph also the stream itself between two sub-layers.
 */
public final class SrcNode implements Node {

  private final String name;
  private final String moduleName;
  private final int layer;
  private final OptionalInt headIdx;
  private final OptionalInt headDim;
  private final Optional<String> weight;
  private final OptionalInt weightHeadDim;
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
    this.name = name;
    this.moduleName = moduleName;
    this.layer = layer;
    this.headIdx = headIdx;
    this.headDim = headDim;
    this.weight = weight;
    this.weightHeadDim = weightHeadDim;
    this.srcIdx = srcIdx;
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public String moduleName() {
    return moduleName;
  }

  @Override
  public int layer() {
    return layer;
  }

  @Override
  public OptionalInt headIdx() {
    return headIdx;
  }

  @Override
  public OptionalInt headDim() {
    return headDim;
  }

  @Override
  public Optional<String> weight() {
    return weight;
  }

  @Override
  public OptionalInt weightHeadDim() {
    return weightHeadDim;
  }

  /**
   * Returns the position among all sources, in the order in which a forward pass computes them; row
   * of the source in a {@code [n_srcs, batch, seq, d_model]} tensor of source activations.
   */
  public int srcIdx() {
    return srcIdx;
  }

  /** The node's name. */
  @Override
  public String toString() {
    return name;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof SrcNode that
        && layer == that.layer
        && srcIdx == that.srcIdx
        && name.equals(that.name)
        && moduleName.equals(that.moduleName)
        && headIdx.equals(that.headIdx)
        && headDim.equals(that.headDim)
        && weight.equals(that.weight)
        && weightHeadDim.equals(that.weightHeadDim);
  }

  /** Equal nodes have the same name and module, and few others do. */
  @Override
  public int hashCode() {
    return 31 * name.hashCode() + moduleName.hashCode();
  }
}
