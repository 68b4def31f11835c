package org.autocircuit.graph;

import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;

/**
 * A node whose input is the residual stream: a head's query, key or value input, an MLP, the end of
 * the stream, or in a residual graph the stream itself between two sub-layers.
 */
public final class DestNode implements Node {

  private final String name;
  private final String moduleName;
  private final int layer;
  private final OptionalInt headIdx;
  private final OptionalInt headDim;
  private final Optional<String> weight;
  private final OptionalInt weightHeadDim;
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
    this.name = name;
    this.moduleName = moduleName;
    this.layer = layer;
    this.headIdx = headIdx;
    this.headDim = headDim;
    this.weight = weight;
    this.weightHeadDim = weightHeadDim;
    this.minSrcIdx = minSrcIdx;
    this.queryHeads = List.copyOf(queryHeads);
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

  @Override
  public boolean equals(Object other) {
    return other instanceof DestNode that
        && layer == that.layer
        && minSrcIdx == that.minSrcIdx
        && name.equals(that.name)
        && moduleName.equals(that.moduleName)
        && headIdx.equals(that.headIdx)
        && headDim.equals(that.headDim)
        && weight.equals(that.weight)
        && weightHeadDim.equals(that.weightHeadDim)
        && queryHeads.equals(that.queryHeads);
  }

  /** Equal nodes have the same name and module, and few others do. */
  @Override
  public int hashCode() {
    return 31 * name.hashCode() + moduleName.hashCode();
  }
}
