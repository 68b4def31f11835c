package org.autocircuit.graph;

import java.util.Optional;
import java.util.OptionalInt;

/**
 * A node of the graph: something that writes to the residual stream ({@link SrcNode}) or reads from
 * it ({@link DestNode}). An attention head that does both is two nodes, which share their name when
 * q, k and v are joint.
 *
 * <p>Nodes are immutable and compare by value.
 */
public abstract sealed class Node permits SrcNode, DestNode {

  private final String name;
  private final String moduleName;
  private final int layer;
  private final OptionalInt headIdx;
  private final OptionalInt headDim;
  private final Optional<String> weight;
  private final OptionalInt weightHeadDim;

  Node(
      String name,
      String moduleName,
      int layer,
      OptionalInt headIdx,
      OptionalInt headDim,
      Optional<String> weight,
      OptionalInt weightHeadDim) {
    this.name = name;
    this.moduleName = moduleName;
    this.layer = layer;
    this.headIdx = headIdx;
    this.headDim = headDim;
    this.weight = weight;
    this.weightHeadDim = weightHeadDim;
  }

  /** The node's name, unique among sources and among destinations: {@code A0.1}, {@code MLP 0}. */
  public final String name() {
    return name;
  }

  /** The hook point whose activation this node is, or is a head of. */
  public final String moduleName() {
    return moduleName;
  }

  /** Depth of the node. A source can only feed destinations of the same or a greater depth. */
  public final int layer() {
    return layer;
  }

  /** Which head of the module's activation, or empty if the module has no heads. */
  public final OptionalInt headIdx() {
    return headIdx;
  }

  /**
   * The dimension of the module's activation {@code [batch, seq, head, d_model]} that counts heads,
   * or empty if the module has no heads.
   */
  public final OptionalInt headDim() {
    return headDim;
  }

  /**
   * The parameter that writes or reads this node, under its TransformerLens name, if there is one.
   */
  public final Optional<String> weight() {
    return weight;
  }

  /** The dimension of {@link #weight} that counts heads, or empty if it has none. */
  public final OptionalInt weightHeadDim() {
    return weightHeadDim;
  }

  /** Returns whether all that nodes of both kinds have is the same. */
  final boolean isLike(Node that) {
    return layer == that.layer
        && name.equals(that.name)
        && moduleName.equals(that.moduleName)
        && headIdx.equals(that.headIdx)
        && headDim.equals(that.headDim)
        && weight.equals(that.weight)
        && weightHeadDim.equals(that.weightHeadDim);
  }

  @Override
  public abstract boolean equals(Object other);

  /** Equal nodes have the same name and module, and few others do. */
  @Override
  public final int hashCode() {
    return 31 * name.hashCode() + moduleName.hashCode();
  }

  /** The node's name. */
  @Override
  public final String toString() {
    return name;
  }
}
