package org.autocircuit.report;

import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.autocircuit.graph.DestNode;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.graph.Node;
import org.autocircuit.prune.ScoredEdge;

/**
 * Places the boxes of a picture. A head is one box, whether it is a source, a destination, or three
 * of them. A key/value head that query heads share is a box of its own, above theirs.
 */
final class PictureLayout {

  static final int BOX_WIDTH = 84;
  static final int BOX_HEIGHT = 34;
  static final int TOP = 84;
  static final int MARGIN = 24;

  /** Up to as many boxes are shown without having an edge. */
  private static final int ALL_BOXES = 48;

  private static final int COLUMN_WIDTH = 168;
  private static final int ROW_HEIGHT = 50;
  private static final List<String> PORTS = List.of("Q", "K", "V");
  private static final int MIN_WIDTH = 640;
  private static final int LONGEST_LINE = 13;

  /**
   * A box; {@code lines} are one or two of text; {@code ports} are the inputs it has places for,
   * none for the middle of its side; {@code low} if it is below the heads.
   */
  record Box(
      String name,
      List<String> lines,
      int column,
      boolean low,
      int x,
      int y,
      List<String> ports,
      boolean touched) {

    int right() {
      return x + BOX_WIDTH;
    }

    int middle() {
      return y + BOX_HEIGHT / 2;
    }

    int port(String port) {
      return ports.contains(port)
          ? y + BOX_HEIGHT * (2 * ports.indexOf(port) + 1) / (2 * ports.size())
          : middle();
    }
  }

  /** A line between neighbouring boxes of a key/value head and those that read it. */
  record Tie(int x, int top, int bottom) {}

  private final Map<String, Box> boxes;
  private final Set<Tie> ties;
  private final List<ScoredEdge> edges;
  private final int width;
  private final int height;

  private PictureLayout(Map<String, Box> boxes, Set<Tie> ties, List<ScoredEdge> edges) {
    this.boxes = boxes;
    this.ties = ties;
    this.edges = edges;
    width =
        Math.max(MIN_WIDTH, boxes.values().stream().mapToInt(Box::right).max().orElse(0) + MARGIN);
    int lowest = boxes.values().stream().mapToInt(Box::y).max().orElse(TOP) + BOX_HEIGHT;
    int deepest =
        edges.stream()
            .mapToInt(edge -> sag(boxOf(edge.edge().src()), boxOf(edge.edge().dest())))
            .max()
            .orElse(0);
    // Only edges between two low boxes hang down all the way.
    height = lowest + MARGIN + deepest / 2;
  }

  static PictureLayout of(ModelGraph graph, List<ScoredEdge> edges) {
    Set<String> touched = new LinkedHashSet<>();
    for (ScoredEdge edge : edges) {
      touched.add(box(edge.edge().src()));
      touched.add(box(edge.edge().dest()));
    }
    Map<String, Integer> layers = new LinkedHashMap<>();
    Map<String, Set<String>> ports = new LinkedHashMap<>();
    Map<String, List<String>> lines = new HashMap<>();
    for (Node node : nodes(graph)) {
      lines.put(box(node), lines(node));
      layers.merge(box(node), node.layer(), Math::max);
      if (!port(node).isEmpty()) {
        ports.computeIfAbsent(box(node), name -> new LinkedHashSet<>()).add(port(node));
      }
    }
    if (layers.size() > ALL_BOXES) {
      layers.keySet().retainAll(touched);
    }
    Map<Integer, List<String>> columns = new TreeMap<>();
    layers.forEach(
        (name, layer) -> columns.computeIfAbsent(layer, key -> new ArrayList<>()).add(name));
    int rows = columns.values().stream().mapToInt(List::size).max().orElse(0);
    Map<String, Box> boxes = new LinkedHashMap<>();
    int column = 0;
    for (List<String> names : columns.values()) {
      // A box alone between columns of heads goes below them, out of the way of their edges.
      boolean low = names.size() == 1 && column > 0 && column < columns.size() - 1;
      int y = TOP + (low ? rows * ROW_HEIGHT : (rows - names.size()) * ROW_HEIGHT / 2);
      for (String name : names) {
        List<String> inputs = sorted(ports.getOrDefault(name, Set.of()));
        int x = MARGIN + column * COLUMN_WIDTH;
        boolean isTouched = touched.contains(name);
        boxes.put(name, new Box(name, lines.get(name), column, low, x, y, inputs, isTouched));
        y += ROW_HEIGHT;
      }
      column++;
    }
    return new PictureLayout(boxes, ties(graph, boxes), edges);
  }

  Collection<Box> boxes() {
    return boxes.values();
  }

  Set<Tie> ties() {
    return ties;
  }

  /** Returns how far an edge hangs down, so as to pass below the boxes between. */
  static int sag(Box from, Box to) {
    int between = to.column() - from.column() - 1;
    return between > 0 && (from.low() || to.low()) ? 20 + 12 * between : 0;
  }

  /** The box that shows a node. */
  Box boxOf(Node node) {
    return boxes.get(box(node));
  }

  List<ScoredEdge> edges() {
    return edges;
  }

  int width() {
    return width;
  }

  int height() {
    return height;
  }

  /** The input of a head that a destination is: Q, K or V; nothing for others. */
  static String port(Node node) {
    if (node instanceof DestNode) {
      for (String port : PORTS) {
        if (node.name().endsWith("." + port)) {
          return port;
        }
      }
    }
    return "";
  }

  private static String box(Node node) {
    if (isShared(node)) {
      return block(node) + " kv " + node.headIdx().getAsInt();
    }
    String port = port(node);
    return port.isEmpty()
        ? node.name()
        : node.name().substring(0, node.name().length() - port.length() - 1);
  }

  /** Labels a node's box: with its name, in two lines if it is a long one, or with its readers. */
  private static List<String> lines(Node node) {
    String name = box(node);
    if (isShared(node)) {
      return List.of(name, ((DestNode) node).heads());
    }
    int blank = name.length() > LONGEST_LINE ? name.indexOf(' ', name.indexOf(' ') + 1) : -1;
    return blank < 0 ? List.of(name) : List.of(name.substring(0, blank), name.substring(blank + 1));
  }

  /** The part of a head's name that all heads of a block share. */
  private static String block(Node head) {
    return head.name().substring(0, head.name().indexOf('.'));
  }

  private static Set<Tie> ties(ModelGraph graph, Map<String, Box> boxes) {
    Set<Tie> ties = new LinkedHashSet<>();
    for (DestNode dest : graph.dests()) {
      Box above = boxes.get(box(dest));
      for (int head : dest.queryHeads()) {
        Box below = boxes.get(block(dest) + "." + head);
        if (above != null && below != null) {
          ties.add(new Tie(above.x() + BOX_WIDTH / 2, above.y() + BOX_HEIGHT, below.y()));
          above = below;
        }
      }
    }
    return ties;
  }

  private static List<String> sorted(Set<String> ports) {
    return PORTS.stream().filter(ports::contains).toList();
  }

  /** Says whether a node is the keys or the values of several query heads. */
  private static boolean isShared(Node node) {
    return node instanceof DestNode dest && !dest.queryHeads().isEmpty();
  }

  /**
   * The nodes of each layer in the order of their boxes: heads, each group below what it shares.
   */
  private static List<Node> nodes(ModelGraph graph) {
    List<DestNode> dests = new ArrayList<>(graph.dests());
    dests.sort(
        Comparator.comparingInt(DestNode::layer)
            .thenComparingInt(PictureLayout::queryHead)
            .thenComparing(dest -> !isShared(dest)));
    List<Node> nodes = new ArrayList<>(dests);
    nodes.addAll(graph.srcs());
    return nodes;
  }

  /** The first query head that a destination is read by; after all of them, what is no head. */
  private static int queryHead(DestNode dest) {
    return isShared(dest) ? dest.queryHeads().get(0) : dest.headIdx().orElse(Integer.MAX_VALUE);
  }
}
