package org.autocircuit.graph;

import java.util.Optional;
import java.util.OptionalInt;

/**
 * A node whose output is added to the residual stream: the embedding, an attention head, an MLP, or
 * in a residual graph also the stream itself between two sub-layers.
 *
 * @param name unique among the sources of a graph
 * @param moduleName the hook point of the output
 * @param layer depth of the node
 * @param headIdx head of the hook point's activation
 * @param headDim dimension of the activation that counts heads
 * @param weight the parameter that produces the output
 * @param weightHeadDim dimension of the parameter that counts heads
 * @param srcIdx position among all sources, in the order in which a forward pass computes them; row
 *     of the source in a {@code [n_srcs, batch, seq, d_model]} tensor of source activations
 */
public record SrcNode(
    String name,
    String moduleName,
    int layer,
    OptionalInt headIdx,
    OptionalInt headDim,
    Optional<String> weight,
    OptionalInt weightHeadDim,
    int srcIdx)
    implements Node {

  /** The node's name. */
  @Override
  public String toString() {
    return name;
  }
}
