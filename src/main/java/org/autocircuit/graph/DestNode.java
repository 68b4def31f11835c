package org.autocircuit.graph;

import java.util.Optional;
import java.util.OptionalInt;

/**
 * A node whose input is the residual stream: a head's query, key or value input, an MLP, the end of
 * the stream, or in a residual graph the stream itself between two sub-layers.
 *
 * @param name unique among the destinations of a graph
 * @param moduleName the hook point of the input
 * @param layer depth of the node
 * @param headIdx head of the hook point's activation
 * @param headDim dimension of the activation that counts heads
 * @param weight the parameter that reads the input
 * @param weightHeadDim dimension of the parameter that counts heads
 * @param minSrcIdx index of the first source that feeds this node
 */
public record DestNode(
    String name,
    String moduleName,
    int layer,
    OptionalInt headIdx,
    OptionalInt headDim,
    Optional<String> weight,
    OptionalInt weightHeadDim,
    int minSrcIdx)
    implements Node {

  /** The node's name. */
  @Override
  public String toString() {
    return name;
  }
}
