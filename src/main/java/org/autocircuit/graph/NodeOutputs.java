package org.autocircuit.graph;

import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.stream.IntStream;
import org.autocircuit.model.TransformerConfig;

/**
 * The sources that depend on each destination directly, without an edge between: a head's output on
 * its query, key and value inputs, an MLP's output or its latents on the MLP's input, and in a
 * residual graph whatever reads the stream behind a residual node.
 */
final class NodeOutputs {

  private static final String[] HEAD_INPUTS = {".Q", ".K", ".V"};

  private final ModelGraph graph;
  private final Map<String, Integer> srcByName = new HashMap<>();
  private final int[][] outputs;

  private NodeOutputs(ModelGraph graph) {
    this.graph = graph;
    graph.srcs().forEach(src -> srcByName.put(src.name(), src.srcIdx()));
    outputs = graph.dests().stream().map(this::outputs).toArray(int[][]::new);
  }

  static NodeOutputs of(ModelGraph graph) {
    return new NodeOutputs(graph);
  }

  /** Returns the sources that depend on a destination, by its place among the destinations. */
  int[] of(int dest) {
    return outputs[dest];
  }

  /** Returns the sources that depend on no destination: those that the prompt alone decides. */
  int[] inputs() {
    boolean[] depends = new boolean[graph.srcs().size()];
    Arrays.stream(outputs).flatMapToInt(Arrays::stream).forEach(src -> depends[src] = true);
    return IntStream.range(0, depends.length).filter(src -> !depends[src]).toArray();
  }

  /** Returns the destinations that a source depends on, by their places among the destinations. */
  int[] dests(int src) {
    return IntStream.range(0, outputs.length)
        .filter(dest -> Arrays.stream(outputs[dest]).anyMatch(output -> output == src))
        .toArray();
  }

  /**
   * Returns whether a destination at one position decides a source at later ones, too: what is read
   * as keys and values does, all else stays where it is.
   */
  boolean atLaterPositions(int dest, int src) {
    return graph.srcs().get(src).headIdx().isPresent()
        && !graph.srcs().get(src).name().startsWith("MLP ")
        && !graph.dests().get(dest).name().endsWith(".Q");
  }

  private int[] outputs(DestNode dest) {
    if (!graph.factorized()) {
      return behindResidual(dest);
    }
    String head = head(dest.name());
    if (dest.headIdx().isPresent() && behindPostNorm()) {
      // The norm behind the heads of a block joins them: each depends on all.
      String attention = head.substring(0, head.lastIndexOf('.') + 1);
      return graph.srcs().stream()
          .filter(src -> src.name().startsWith(attention))
          .mapToInt(SrcNode::srcIdx)
          .toArray();
    }
    if (!dest.queryHeads().isEmpty()) {
      String attention = head.substring(0, head.lastIndexOf('.') + 1);
      return dest.queryHeads().stream().mapToInt(h -> srcByName.get(attention + h)).toArray();
    }
    Integer whole = srcByName.get(head);
    if (whole != null) {
      return new int[] {whole};
    }
    // Latents that an autoencoder takes an MLP apart into.
    return graph.srcs().stream()
        .filter(src -> src.name().startsWith(head + " "))
        .mapToInt(SrcNode::srcIdx)
        .toArray();
  }

  private boolean behindPostNorm() {
    return graph.config() instanceof TransformerConfig config && config.postNorms();
  }

  /** The residual node as a source, and all that follow up to the next one. */
  private int[] behindResidual(DestNode dest) {
    Integer start = srcByName.get(dest.name());
    if (start == null) {
      return new int[0];
    }
    int stop = start + 1;
    while (stop < graph.srcs().size() && !isResidual(graph.srcs().get(stop))) {
      stop++;
    }
    return IntStream.range(start, stop).toArray();
  }

  private boolean isResidual(SrcNode src) {
    return graph.dests().stream().anyMatch(dest -> dest.name().equals(src.name()));
  }

  private static String head(String dest) {
    return Arrays.stream(HEAD_INPUTS).anyMatch(dest::endsWith)
        ? dest.substring(0, dest.length() - HEAD_INPUTS[0].length())
        : dest;
  }
}
