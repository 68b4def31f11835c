package org.autocircuit.graph;

import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;

/**
 * A node whose input is the residual stream: a head's query, key or value input, an MLP, the end of
 * the stream, or in a residual graph the stream itself between two sub-layers.
 */
public final class DestNode extends Node {

  private final int minSrcIdx;
  private final List<Integer> queryHeads;

  DestNode(
      String name,
      String moduleName,
      int layer,
      OptionalInt headIdx,
      OptionalInt headDim,
      Optional<String> weight,
      OptionalInt weightHeadDim,
      int minSrcIdx,
      List<Integer> queryHeads) {
    super(name, moduleName, layer, headIdx, headDim, weight, weightHeadDim);
    this.minSrcIdx = minSrcIdx;
    this.queryHeads = List.copyOf(queryHeads);
  }

  /** Returns the index of the first source that feeds this node. */
  public int minSrcIdx() {
    return minSrcIdx;
  }

  /**
   * Returns the query heads that read the keys or values of this node, neighbours in ascending
   * order, where several do (grouped queries); empty otherwise.
   */
  public List<Integer> queryHeads() {
    return queryHeads;
  }

  /**
   * The name, and for a key/value head that several query heads share which one it is and who reads
   * it: {@code A4.1.V (kv 1: heads 2, 3)}. For people; look-ups and files use the name alone.
   */
  public String label() {
    return readers().isEmpty() ? name() : name() + " (" + readers() + ")";
  }

  /** The part of the label in brackets, {@code kv 1: heads 2, 3}; empty where there is none. */
  public String readers() {
    return queryHeads.isEmpty() ? "" : "kv " + headIdx().getAsInt() + ": " + heads();
  }

  /** The query heads in words, {@code heads 2, 3} or {@code heads 4-7}; empty without any. */
  public String heads() {
    if (queryHeads.isEmpty()) {
      return "";
    }
    String between = queryHeads.size() == 2 ? ", " : "-";
    return "heads " + queryHeads.get(0) + between + queryHeads.get(queryHeads.size() - 1);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof DestNode that
        && isLike(that)
        && minSrcIdx == that.minSrcIdx
        && queryHeads.equals(that.queryHeads);
  }
}
