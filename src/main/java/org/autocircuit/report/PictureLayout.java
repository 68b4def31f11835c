package org.autocircuit.report;

import java.util.ArrayList;
import java.util.Collection;
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
 * Where the boxes of a picture are. A head is one box, whether it is a source, a destination, or
 * three of them.
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

  /** A box; {@code ports} are the inputs it has places for, none for the middle of its side. */
  record Box(String name, int x, int y, List<String> ports, boolean touched) {

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

  private final Map<String, Box> boxes;
  private final List<ScoredEdge> edges;
  private final int width;
  private final int height;

  private PictureLayout(Map<String, Box> boxes, List<ScoredEdge> edges) {
    this.boxes = boxes;
    this.edges = edges;
    width =
        Math.max(MIN_WIDTH, boxes.values().stream().mapToInt(Box::right).max().orElse(0) + MARGIN);
    height = boxes.values().stream().mapToInt(Box::y).max().orElse(TOP) + BOX_HEIGHT + MARGIN;
  }

  static PictureLayout of(ModelGraph graph, List<ScoredEdge> edges) {
    Set<String> touched = new LinkedHashSet<>();
    for (ScoredEdge edge : edges) {
      touched.add(box(edge.edge().src()));
      touched.add(box(edge.edge().dest()));
    }
    Map<String, Integer> layers = new LinkedHashMap<>();
    Map<String, Set<String>> ports = new LinkedHashMap<>();
    for (Node node : nodes(graph)) {
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
    int x = MARGIN;
    for (List<String> column : columns.values()) {
      int y = TOP + (rows - column.size()) * ROW_HEIGHT / 2;
      for (String name : column) {
        List<String> inputs = List.copyOf(ports.getOrDefault(name, Set.of()));
        boxes.put(name, new Box(name, x, y, sorted(inputs), touched.contains(name)));
        y += ROW_HEIGHT;
      }
      x += COLUMN_WIDTH;
    }
    return new PictureLayout(boxes, edges);
  }

  Collection<Box> boxes() {
    return boxes.values();
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
    String port = port(node);
    return port.isEmpty()
        ? node.name()
        : node.name().substring(0, node.name().length() - port.length() - 1);
  }

  private static List<String> sorted(List<String> ports) {
    return PORTS.stream().filter(ports::contains).toList();
  }

  private static List<Node> nodes(ModelGraph graph) {
    List<Node> nodes = new ArrayList<>(graph.srcs());
    nodes.addAll(graph.dests());
    return nodes;
  }
}
