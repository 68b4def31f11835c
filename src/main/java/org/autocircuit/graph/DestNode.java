package org.autocircuit.graph;

import java.util.List;
import java.util.Objects;
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
 * @param queryHeads the query heads that read the keys or values of this node, neighbours in
 *     ascending order, where several do (grouped queries); empty otherwise
 */
public record DestNode(
    String name,
    String moduleName,
    int layer,
    OptionalInt headIdx,
    OptionalInt headDim,
    Optional<String> weight,
    OptionalInt weightHeadDim,
    int minSrcIdx,
    List<Integer> queryHeads)
    implements Node {

  /** Checks that nothing is {@code null}, and copies the list. */
  public DestNode {
    Objects.requireNonNull(name, "name");
    Objects.requireNonNull(moduleName, "moduleName");
    Objects.requireNonNull(headIdx, "headIdx");
    Objects.requireNonNull(headDim, "headDim");
    Objects.requireNonNull(weight, "weight");
    Objects.requireNonNull(weightHeadDim, "weightHeadDim");
    queryHeads = List.copyOf(queryHeads);
  }

  /**
   * The name, and for a key/value head that several query heads share which one it is and who reads
   * it: {@code A4.1.V (kv 1: heads 2, 3)}. For people; look-ups and files use the name alone.
   */
  public String label() {
    return readers().isEmpty() ? name : name + " (" + readers() + ")";
  }

  /** The part of the label in brackets, {@code kv 1: heads 2, 3}; empty where there is none. */
  public String readers() {
    return queryHeads.isEmpty() ? "" : "kv " + headIdx.getAsInt() + ": " + heads();
  }

  /** The query heads in words, {@code heads 2, 3} or {@code heads 4-7}; empty without any. */
  public String heads() {
    if (queryHeads.isEmpty()) {
      return "";
    }
    String between = queryHeads.size() == 2 ? ", " : "-";
    return "heads " + queryHeads.get(0) + between + queryHeads.get(queryHeads.size() - 1);
  }

  /** The node's name. */
  @Override
  public String toString() {
    return name;
  }
}
