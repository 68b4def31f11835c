package org.autocircuit.graph;

import java.util.AbstractList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.RandomAccess;
import java.util.stream.IntStream;

/**
 * A set of edges of one graph, for example a circuit. Stored as one bit for each edge of the graph.
 *
 * <p>Immutable; safe to share between threads. Equal if the graphs are equal and the edges the
 * same.
 */
public final class EdgeSet {

  private final ModelGraph graph;
  private final BitSet bits;
  private final int size;

  private EdgeSet(ModelGraph graph, BitSet bits) {
    this.graph = graph;
    this.bits = bits;
    this.size = bits.cardinality();
  }

  /** The set without edges. */
  public static EdgeSet none(ModelGraph graph) {
    return new EdgeSet(graph, new BitSet());
  }

  /** The set of all edges. */
  public static EdgeSet all(ModelGraph graph) {
    return none(graph).complement();
  }

  /**
   * The set of the given edges.
   *
   * @throws IllegalArgumentException if an edge is not part of the graph
   */
  public static EdgeSet of(ModelGraph graph, Collection<Edge> edges) {
    BitSet bits = new BitSet();
    edges.forEach(edge -> bits.set(graph.index(edge)));
    return new EdgeSet(graph, bits);
  }

  /**
   * The set of the edges with the given indices.
   *
   * @throws IndexOutOfBoundsException if the graph has no edge of some index
   */
  public static EdgeSet of(ModelGraph graph, int... indices) {
    BitSet bits = new BitSet();
    Arrays.stream(indices).forEach(bits::set);
    return ofIndices(graph, bits);
  }

  /**
   * The set of the edges with the given names. A name means all positions, or as {@code NAME@N}
   * position N only.
   *
   * @throws IllegalArgumentException if there is no edge of some name; suggests the nearest name
   */
  public static EdgeSet ofNames(ModelGraph graph, Collection<String> names) {
    BitSet bits = new BitSet();
    names.forEach(name -> Arrays.stream(graph.indices(name)).forEach(bits::set));
    return new EdgeSet(graph, bits);
  }

  /**
   * The set of the edges with the given indices. The bits are copied.
   *
   * @throws IndexOutOfBoundsException if the graph has no edge of some index
   */
  public static EdgeSet ofIndices(ModelGraph graph, BitSet indices) {
    if (indices.length() > graph.nEdges()) {
      throw new IndexOutOfBoundsException(
          "edge index %s in a graph with %s edges".formatted(indices.length() - 1, graph.nEdges()));
    }
    return new EdgeSet(graph, (BitSet) indices.clone());
  }

  /** The graph whose edges these are. */
  public ModelGraph graph() {
    return graph;
  }

  /** Number of edges in the set. */
  public int size() {
    return size;
  }

  /** Returns whether the edge with the given index is in the set. */
  public boolean contains(int index) {
    return bits.get(index);
  }

  /**
   * Returns whether an edge is in the set.
   *
   * @throws IllegalArgumentException if the edge is not part of the graph
   */
  public boolean contains(Edge edge) {
    return bits.get(graph.index(edge));
  }

  /** The indices of the edges in ascending order. */
  public IntStream indices() {
    return bits.stream();
  }

  /** The edges in ascending order of their indices, as an unmodifiable view. */
  public List<Edge> edges() {
    int[] indices = indices().toArray();
    return new Edges(graph, indices);
  }

  /** The edges of the graph that are not in this set. */
  public EdgeSet complement() {
    BitSet others = (BitSet) bits.clone();
    others.flip(0, graph.nEdges());
    return new EdgeSet(graph, others);
  }

  /** Returns whether the set has no edge. */
  public boolean isEmpty() {
    return size == 0;
  }

  /**
   * The edges of this set that lie on a path from the input to the output whose edges are all in
   * the set. Others do nothing in a circuit whose complement is patched from corrupt prompts: what
   * they bring does not depend on the clean prompt, or does not arrive. In a graph with positions a
   * head carries what its keys and values read to the same and later positions, and all else stays
   * where it is.
   */
  public EdgeSet onPaths() {
    return Paths.edgesOn(this);
  }

  /**
   * A mask vector, one value for each edge of the graph: {@code inside} for the edges of the set.
   */
  public float[] mask(float inside, float outside) {
    float[] mask = new float[graph.maskSize()];
    Arrays.fill(mask, outside);
    indices().forEach(index -> mask[index] = inside);
    return mask;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof EdgeSet that && graph.equals(that.graph) && bits.equals(that.bits);
  }

  @Override
  public int hashCode() {
    return bits.hashCode();
  }

  /** The sizes of the set and of the graph. */
  @Override
  public String toString() {
    return String.format(Locale.ROOT, "%,d of %,d edges", size, graph.nEdges());
  }

  private static final class Edges extends AbstractList<Edge> implements RandomAccess {

    private final ModelGraph graph;
    private final int[] indices;

    Edges(ModelGraph graph, int[] indices) {
      this.graph = graph;
      this.indices = indices;
    }

    @Override
    public Edge get(int i) {
      return graph.edge(indices[i]);
    }

    @Override
    public int size() {
      return indices.length;
    }
  }
}
