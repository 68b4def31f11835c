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
public sealed interface Node permits SrcNode, DestNode {

  /** The node's name, unique among sources and among destinations: {@code A0.1}, {@code MLP 0}. */
  String name();

  /** The hook point whose activation this node is, or is a head of. */
  String moduleName();

  /** Depth of the node. A source can only feed destinations of the same or a greater depth. */
  int layer();

  /** Which head of the module's activation, or empty if the module has no heads. */
  OptionalInt headIdx();

  /**
   * The dimension of the module's activation {@code [batch, seq, head, d_model]} that counts heads,
   * or empty if the module has no heads.
   */
  OptionalInt headDim();

  /**
   * The parameter that writes or reads this node, under its TransformerLens name, if there is one.
   */
  Optional<String> weight();

  /** The dimension of {@link #weight} that counts heads, or empty if it has none. */
  OptionalInt weightHeadDim();
}
