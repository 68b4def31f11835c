package org.autocircuit.graph;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.OptionalInt;
import org.autocircuit.model.ModelConfig;
import org.autocircuit.model.TransformerConfig;

/**
 * The graph of a model: its sources, its destinations, and an edge from every source to every
 * destination that it can reach.
 *
 * <p>A <em>factorised</em> graph joins every earlier source to every later destination, because the
 * residual stream is the sum of all earlier outputs. A <em>residual</em> graph has the stream
 * itself as a node after each sub-layer, so it patches nodes rather than edges and is much smaller.
 *
 * <p>Edges are numbered. Destination modules follow one another in the order of a forward pass (q,
 * k and v or the joint attention input of a block, then its MLP; at last the end of the residual
 * stream), and inside a module the order is row-major {@code [seq_len][heads][incoming sources]},
 * where the first two exist only if the graph has positions and the module has heads. Masks and
 * scores are flat vectors in this same order, so <b>the index of an edge is the index of its
 * value</b>. The graph itself stores nodes and modules, never edges: {@link Edge} objects and
 * {@link #edges() lists of them} are views made from indices.
 *
 * <p>Names that do not exist are errors: every look-up by name throws an {@link
 * IllegalArgumentException} that says what is wrong and suggests the nearest existing name. (The
 * Python original ignores unknown edge names.) With grouped queries {@code A4.1.V} is the value
 * input of key/value head 1, not of query head 1; {@link Edge#label} says which heads read it.
 *
 * <p>Immutable; safe to share between threads. Two graphs are equal if they were made from equal
 * arguments.
 *
 * <pre>{@code
 * ModelGraph graph = ModelGraph.of(config, true, true);
 * int index = graph.index("A0.1->MLP 1");
 * Edge edge = graph.edge(index);
 * }</pre>
 */
public final class ModelGraph {

  private final ModelConfig config;
  private final boolean factorized;
  private final boolean separateQkv;
  private final boolean ungroupedKeyValues;
  private final OptionalInt seqLen;
  private final List<SrcNode> srcs;
  private final List<DestNode> dests;
  private final List<SrcModule> srcModules;
  private final List<DestModule> destModules;
  private final Map<String, DestModule> destModuleByName = new HashMap<>();
  private final EdgeLookup lookup;
  private final int[] offsets;
  private final int maskSize;

  private ModelGraph(
      ModelConfig config,
      boolean factorized,
      boolean separateQkv,
      boolean ungroupedKeyValues,
      OptionalInt seqLen) {
    this.config = Objects.requireNonNull(config, "config");
    this.factorized = factorized;
    this.separateQkv = separateQkv && factorized && config instanceof TransformerConfig;
    this.ungroupedKeyValues =
        ungroupedKeyValues
            && this.separateQkv
            && config instanceof TransformerConfig transformer
            && transformer.groupedQueries();
    this.seqLen = Objects.requireNonNull(seqLen, "seqLen");
    if (config.nLayers() < 1 || config.nHeads() < 1) {
      throw new IllegalArgumentException(
          "a graph needs at least one block and one head, got " + config);
    }
    if (seqLen.isPresent() && seqLen.getAsInt() < 1) {
      throw new IllegalArgumentException(
          "expected a positive sequence length, got " + seqLen.getAsInt());
    }
    GraphLayout layout =
        GraphLayout.of(
            config, factorized, this.separateQkv, this.ungroupedKeyValues, seqLen.orElse(0));
    if (layout.maskSize > Integer.MAX_VALUE) {
      throw new IllegalArgumentException(
          String.format(
              Locale.ROOT,
              "the graph has %,d edges, more than the %,d that can be numbered; leave out the"
                  + " sequence length or use a residual graph",
              layout.maskSize,
              Integer.MAX_VALUE));
    }
    maskSize = (int) layout.maskSize;
    srcs = List.copyOf(layout.srcs);
    dests = List.copyOf(layout.dests);
    srcModules = List.copyOf(layout.srcModules);
    destModules = List.copyOf(layout.destModules);
    lookup = new EdgeLookup(layout, seqLen);
    destModules.forEach(module -> destModuleByName.put(module.moduleName(), module));
    offsets = destModules.stream().mapToInt(DestModule::offset).toArray();
  }

  /**
   * The graph of a model whose edges hold for all token positions: prompts of any length can be
   * run.
   *
   * @param config the model's structure
   * @param factorized {@code true} for edges between all nodes, {@code false} for a residual graph
   * @param separateQkv whether a head's query, key and value inputs are destinations of their own;
   *     no effect, and reported as {@code false}, where a model or a residual graph has none
   * @throws IllegalArgumentException if the graph has more than {@code 2^31 - 1} edges, or a
   *     residual graph is asked for a model with parallel blocks
   */
  public static ModelGraph of(ModelConfig config, boolean factorized, boolean separateQkv) {
    return new ModelGraph(config, factorized, separateQkv, false, OptionalInt.empty());
  }

  /**
   * The graph with one edge for each token position.
   *
   * @param seqLen number of token positions that have masks of their own
   * @throws IllegalArgumentException as {@link #of(ModelConfig, boolean, boolean)}, and if the
   *     sequence length is not positive
   */
  public static ModelGraph of(
      ModelConfig config, boolean factorized, boolean separateQkv, int seqLen) {
    return new ModelGraph(config, factorized, separateQkv, false, OptionalInt.of(seqLen));
  }

  /**
   * This graph with a key and a value destination for each query head rather than for each
   * key/value head of grouped-query attention; the counterpart of TransformerLens's {@code
   * ungroup_grouped_query_attention}. Query heads that share keys and values can then be given
   * different ones. The same graph where there is nothing to ungroup. (In the Python original a
   * grouped model that was not ungrouped has destinations for each query head, too, and fails when
   * it runs.)
   */
  public ModelGraph ungroupKeyValues() {
    ModelGraph graph = new ModelGraph(config, factorized, separateQkv, true, seqLen);
    return graph.equals(this) ? this : graph;
  }

  /**
   * All that the Python original's {@code graph_edges} returns.
   *
   * @see #of(ModelConfig, boolean, boolean)
   */
  public static GraphEdges graphEdges(ModelConfig config, boolean factorized, boolean separateQkv) {
    return of(config, factorized, separateQkv).graphEdges();
  }

  /**
   * All that the Python original's {@code graph_edges} returns with a {@code seq_len}.
   *
   * @see #of(ModelConfig, boolean, boolean, int)
   */
  public static GraphEdges graphEdges(
      ModelConfig config, boolean factorized, boolean separateQkv, int seqLen) {
    return of(config, factorized, separateQkv, seqLen).graphEdges();
  }

  /** This graph as the seven results of the Python original's {@code graph_edges}. */
  public GraphEdges graphEdges() {
    return new GraphEdges(this);
  }

  /** The model structure that the graph was made from. */
  public ModelConfig config() {
    return config;
  }

  /** Returns whether every earlier source feeds every later destination. */
  public boolean factorized() {
    return factorized;
  }

  /** Returns whether query, key and value inputs are destinations of their own. */
  public boolean separateQkv() {
    return separateQkv;
  }

  /**
   * Returns whether query heads that share keys and values have key and value destinations of their
   * own.
   */
  public boolean ungroupedKeyValues() {
    return ungroupedKeyValues;
  }

  /** Number of token positions that have edges of their own, or empty. */
  public OptionalInt seqLen() {
    return seqLen;
  }

  /** The sources, by {@link SrcNode#srcIdx}. */
  public List<SrcNode> srcs() {
    return srcs;
  }

  /** The destinations in flat order. */
  public List<DestNode> dests() {
    return dests;
  }

  /** All nodes: the sources, then the destinations. */
  public List<Node> nodes() {
    List<Node> nodes = new ArrayList<>(srcs);
    nodes.addAll(dests);
    return Collections.unmodifiableList(nodes);
  }

  /** The hook points that write sources, in the order of a forward pass. */
  public List<SrcModule> srcModules() {
    return srcModules;
  }

  /** The hook points that read sources, in flat order. */
  public List<DestModule> destModules() {
    return destModules;
  }

  /**
   * The destination module at a hook point.
   *
   * @throws IllegalArgumentException if no destination is there; suggests the nearest name
   */
  public DestModule destModule(String moduleName) {
    NearestName.require("destination module", moduleName, destModuleByName.keySet());
    return destModuleByName.get(moduleName);
  }

  /** The destination module that holds the value with the given flat index. */
  public DestModule destModule(int index) {
    Objects.checkIndex(index, maskSize);
    int found = Arrays.binarySearch(offsets, index);
    return destModules.get(found >= 0 ? found : -found - 2);
  }

  /** Number of values in a flat vector of masks or scores; the same as {@link #nEdges}. */
  public int maskSize() {
    return maskSize;
  }

  /** Number of edges, each position counted. */
  public int nEdges() {
    return maskSize;
  }

  /** The edge with the given index. */
  public Edge edge(int index) {
    DestModule module = destModule(index);
    int local = index - module.offset();
    int position = local / module.positionSize();
    return edge(module, position, local - position * module.positionSize());
  }

  /** All edges by index, as an unmodifiable view; {@code contains} and {@code indexOf} are fast. */
  public List<Edge> edges() {
    return new EdgeList(this, OptionalInt.empty());
  }

  /**
   * The edges of one token position, as an unmodifiable view in flat order.
   *
   * @throws IllegalArgumentException if the graph has no such position
   */
  public List<Edge> edgesAt(int position) {
    lookup.checkPosition(position, "edges");
    return new EdgeList(this, OptionalInt.of(position));
  }

  /**
   * The edges with the given name: one, or one for each token position. A name that ends in
   * {@code @N} means position N only.
   *
   * @throws IllegalArgumentException if there is no such edge
   */
  public List<Edge> edges(String name) {
    List<Edge> edges = new ArrayList<>();
    for (int index : indices(name)) {
      edges.add(edge(index));
    }
    return Collections.unmodifiableList(edges);
  }

  /**
   * The edge with the given name; in a graph with positions the name ends in {@code @N}.
   *
   * @throws IllegalArgumentException if there is no such edge, or the graph has positions and the
   *     name has none
   */
  public Edge edge(String name) {
    return edge(index(name));
  }

  /**
   * The edge with the given name at the given token position.
   *
   * @throws IllegalArgumentException if there is no such edge
   */
  public Edge edge(String name, int position) {
    return edge(index(name, position));
  }

  /**
   * The index of an edge of this graph or of an equal one.
   *
   * @throws IllegalArgumentException if the edge is not part of this graph
   */
  public int index(Edge edge) {
    int index = lookup.find(edge);
    if (index < 0) {
      int named = lookup.index(edge.name(), edge.position());
      throw new IllegalArgumentException(
          "edge '%s' belongs to a graph in which its nodes are other ones than those of '%s' here"
              .formatted(edge, edge(named)));
    }
    return index;
  }

  /**
   * The index of the edge with the given name; in a graph with positions the name ends in
   * {@code @N}.
   *
   * @throws IllegalArgumentException if there is no such edge, or the graph has positions and the
   *     name has none
   */
  public int index(String name) {
    return lookup.index(name, OptionalInt.empty());
  }

  /**
   * The index of the edge with the given name at the given token position.
   *
   * @throws IllegalArgumentException if there is no such edge
   */
  public int index(String name, int position) {
    return lookup.index(name, OptionalInt.of(position));
  }

  /**
   * The indices of all edges with the given name, in ascending order: one, or one for each token
   * position. A name that ends in {@code @N} means position N only.
   *
   * @throws IllegalArgumentException if there is no such edge
   */
  public int[] indices(String name) {
    return lookup.indices(name);
  }

  /**
   * One specification for each hook point that the graph patches: destinations in flat order, then
   * the hook points that are sources only, in the order of a forward pass.
   */
  public List<WrapperSpec> wrapperSpecs() {
    return WrapperSpec.of(this);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof ModelGraph that
        && config.equals(that.config)
        && factorized == that.factorized
        && separateQkv == that.separateQkv
        && ungroupedKeyValues == that.ungroupedKeyValues
        && seqLen.equals(that.seqLen);
  }

  @Override
  public int hashCode() {
    return Objects.hash(config, factorized, separateQkv, ungroupedKeyValues, seqLen);
  }

  /** The kind and the size of the graph. */
  @Override
  public String toString() {
    return String.format(
        Locale.ROOT,
        "%s graph with %,d sources, %,d destinations and %,d edges%s",
        factorized ? "factorised" : "residual",
        srcs.size(),
        dests.size(),
        maskSize,
        seqLen.isPresent() ? " at " + seqLen.getAsInt() + " positions" : "");
  }

  /**
   * Returns the edge with a flat index among the edges of one position (or of all, without
   * positions).
   */
  Edge edgeAt(int position, int indexInPosition) {
    int positions = seqLen.orElse(1);
    int low = 0;
    int high = offsets.length - 1;
    while (low < high) {
      int middle = (low + high + 1) >>> 1;
      if (offsets[middle] / positions <= indexInPosition) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    DestModule module = destModules.get(low);
    return edge(module, position, indexInPosition - module.offset() / positions);
  }

  /** The index of an edge, or -1 if it is not part of this graph. */
  int find(Edge edge) {
    return lookup.find(edge);
  }

  private Edge edge(DestModule module, int position, int local) {
    int row = local / module.nSrcs();
    return new Edge(
        srcs.get(module.inStart() + local - row * module.nSrcs()),
        dests.get(module.firstDest() + row),
        seqLen.isPresent() ? OptionalInt.of(position) : OptionalInt.empty());
  }
}
