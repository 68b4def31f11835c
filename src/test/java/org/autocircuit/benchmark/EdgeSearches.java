package org.autocircuit.benchmark;

import java.util.Comparator;
import java.util.List;
import java.util.function.LongSupplier;
import java.util.stream.IntStream;
import org.autocircuit.PatchableModel;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.prune.Acdc;
import org.autocircuit.prune.EdgeActivationPatching;
import org.autocircuit.prune.PruneScores;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;

/**
 * Searches that test every edge of a model would take minutes. Each run here is a piece of one: the
 * next of {@value #PIECES} places in the order of the edges, evenly apart, and a few edges from
 * there. Of what comes before, the search has removed all but those edges that edge attribution
 * patching ranks first. A run gives the nanoseconds of an edge, without what a search does once.
 */
final class EdgeSearches {

  private static final int EDGES = 13; // the first one starts the clock
  private static final int PIECES = 20;

  /** Of the edges, in the search that leaves 5 to 10 %. */
  private static final double KEPT = 0.075;

  private final PatchableModel model;
  private final ModelInput clean;
  private final SourceActivations activations;
  private final AnswerLoss loss;
  private final double acdcThreshold;

  /** As ACDC visits them. */
  private final List<Edge> order;

  private EdgeSet kept; // made when first needed
  private int turn;

  EdgeSearches(
      PatchableModel model,
      Tensor clean,
      SourceActivations activations,
      AnswerLoss loss,
      double acdcThreshold) {
    this.model = model;
    this.clean = ModelInput.of(clean);
    this.activations = activations;
    this.loss = loss;
    this.acdcThreshold = acdcThreshold;
    ModelGraph graph = model.graph();
    order =
        IntStream.range(0, graph.nEdges())
            .mapToObj(graph::edge)
            .sorted(Comparator.comparing((Edge edge) -> -edge.dest().layer()))
            .toList();
  }

  Object acdcFewStay() {
    int from = nextPlace();
    return acdc(from, removedBefore(from), acdcThreshold);
  }

  Object acdcAllStay() {
    return acdc(nextPlace(), List.of(), Double.MIN_NORMAL);
  }

  Object exactPatching() {
    Stopwatch stopwatch = new Stopwatch();
    EdgeActivationPatching.builder()
        .edges(piece(nextPlace()))
        .build()
        .pruneScores(model, clean, activations, loss, (done, total) -> stopwatch.edgeDone());
    return stopwatch.nanosOfAnEdge();
  }

  private long acdc(int from, List<Edge> removed, double threshold) {
    Stopwatch stopwatch = new Stopwatch();
    Acdc.builder()
        .thresholds(threshold)
        .removed(removed)
        .edgeOrder(piece(from))
        .listener(decision -> stopwatch.edgeDone())
        .build()
        .search(model, clean, activations);
    return stopwatch.nanosOfAnEdge();
  }

  /** From the first edge to the last. */
  private static final class Stopwatch {
    private final LongSupplier clock = Benchmarks.clock();
    private long first;
    private long last;
    private int edges;

    void edgeDone() {
      last = clock.getAsLong();
      if (edges++ == 0) {
        first = last;
      }
    }

    long nanosOfAnEdge() {
      return (last - first) / Math.max(1, edges - 1);
    }
  }

  private List<Edge> removedBefore(int from) {
    if (kept == null) {
      try (PointerScope scope = new PointerScope()) {
        PatchContext zeros = PatchContext.of(activations, Masks.uniform(model.graph(), 0));
        Tensor gradient = model.maskGradient(clean, zeros, loss).gradient();
        PruneScores attribution = PruneScores.of(model.graph(), TensorArrays.doubles(gradient));
        kept = attribution.circuit((int) (KEPT * model.graph().nEdges()));
      }
    }
    return order.subList(0, from).stream().filter(edge -> !kept.contains(edge)).toList();
  }

  private List<Edge> piece(int from) {
    return order.subList(from, Math.min(from + EDGES, order.size()));
  }

  /** The middle of the next of as many equal parts of the order. */
  private int nextPlace() {
    long places = order.size() - (long) Math.min(EDGES, order.size());
    return (int) (places * (2L * (turn++ % PIECES) + 1) / (2L * PIECES));
  }
}
