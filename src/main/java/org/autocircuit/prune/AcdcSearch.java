package org.autocircuit.prune;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import org.autocircuit.PatchableModel;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.StateReader;
import org.autocircuit.internal.StateWriter;
import org.autocircuit.internal.Stop;
import org.autocircuit.pass.Checkpoint;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.IncrementalRun;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Walks over the edges for {@link Acdc}, once for each threshold. An edge is tested by a run whose
 * baseline has the edges that are removed so far; where that is not exact enough, by whole runs, as
 * the sequential algorithm does.
 */
final class AcdcSearch {

  /** Takes what {@link Acdc.Decision} has of an edge. */
  interface Sink {
    void decided(long done, double threshold, int edge, double divergence, boolean removed);
  }

  /** A divergence; exact if it is one that the sequential algorithm would have got. */
  private record Divergence(double value, boolean exact) {}

  private final PatchableModel model;
  private final ModelInput clean;
  private final SourceActivations corrupt;
  private final FaithfulnessTarget faithfulness;
  private final Tensor target;
  private final int[] order;
  private final BitSet removedBefore;
  private final boolean sequential;
  private final double logitError;
  private final Checkpoint checkpoint;
  private final Sink sink;
  private final double[] scores;
  private final List<AcdcResult.Run> runs = new ArrayList<>();

  private BitSet removed;
  private Divergence current;

  /** Decisions of the run that has not ended. */
  private int decided;

  /**
   * Prepares the walk. The tensors belong to the scope around it.
   *
   * @param order indices of edges, those of later destinations first
   * @param removedBefore edges that are removed from the beginning, none of them of the order
   * @param sequential whether each test is a whole run
   * @param tolerance share of the greatest logit by which logits of one run and another may differ
   * @param checkpoint is told of each decision
   */
  AcdcSearch(
      PatchableModel model,
      ModelInput clean,
      SourceActivations corrupt,
      FaithfulnessTarget faithfulness,
      int[] order,
      BitSet removedBefore,
      boolean sequential,
      double tolerance,
      Checkpoint checkpoint,
      Sink sink) {
    this.model = model;
    this.clean = clean;
    this.corrupt = corrupt;
    this.faithfulness = faithfulness;
    this.order = order;
    this.removedBefore = removedBefore;
    this.sequential = sequential;
    this.checkpoint = checkpoint;
    this.sink = sink;
    Tensor logits = logits(PatchContext.NONE).to(ScalarType.Double);
    model.precision().requireFinite("logits", logits);
    target = faithfulness.target(logits);
    logitError = tolerance * logits.abs().max().item_double();
    scores = new double[model.graph().nEdges()];
    Arrays.fill(scores, Double.POSITIVE_INFINITY);
    removedBefore.stream().forEach(edge -> scores[edge] = 0);
  }

  /** The runs that have ended, and the smallest threshold at which each edge was removed so far. */
  AcdcResult result() {
    return new AcdcResult(runs, PruneScores.of(graph(), scores));
  }

  /** Runs all thresholds, or those that are left. */
  void run(double[] thresholds) {
    removed = (BitSet) removedBefore.clone();
    checkpoint.state().ifPresent(state -> restore(new StateReader(state), thresholds));
    while (runs.size() < thresholds.length) {
      double threshold = thresholds[runs.size()];
      decideAll(threshold);
      EdgeSet circuit = EdgeSet.ofIndices(graph(), removed).complement();
      runs.add(new AcdcResult.Run(threshold, circuit));
      removed = (BitSet) removedBefore.clone();
      decided = 0;
    }
  }

  /** The state to resume from. */
  double[] state() {
    int edges = scores.length;
    StateWriter state = new StateWriter().add(runs.size());
    for (AcdcResult.Run run : runs) {
      BitSet circuit = new BitSet();
      run.circuit().indices().forEach(circuit::set);
      state.add(circuit, edges);
    }
    boolean begun = decided > 0;
    return state
        .add(decided)
        .add(removed, edges)
        .add(begun ? current.value : 0)
        .add(begun && current.exact ? 1 : 0)
        .add(scores)
        .toArray();
  }

  private void restore(StateReader state, double[] thresholds) {
    int edges = scores.length;
    for (long ended = state.nextCount(thresholds.length); ended > 0; ended--) {
      EdgeSet circuit = EdgeSet.ofIndices(graph(), state.nextIndices(edges));
      runs.add(new AcdcResult.Run(thresholds[runs.size()], circuit));
    }
    decided = (int) state.nextCount(order.length);
    removed = state.nextIndices(edges);
    current = new Divergence(state.next(), state.next() != 0);
    System.arraycopy(state.next(edges), 0, scores, 0, edges);
    state.end();
  }

  private void decideAll(double threshold) {
    if (decided == 0) {
      current = removed.isEmpty() ? new Divergence(0, true) : exact(removed);
    }
    if (sequential) {
      while (decided < order.length) {
        Stop.check();
        decide(exact(with(order[decided])), threshold);
      }
      return;
    }
    try (IncrementalRun run = model.incrementalRun(clean, context(removed))) {
      while (decided < order.length) {
        Stop.check();
        IncrementalRun.Candidate candidate = run.withMasks(EdgeSet.of(graph(), order[decided]), 1);
        if (decide(test(candidate), threshold)) {
          candidate.commit();
        }
      }
    }
  }

  private Divergence test(IncrementalRun.Candidate candidate) {
    try (CallScope scope = new CallScope()) {
      return new Divergence(divergence(candidate.logits()), false);
    }
  }

  /** Decides the next edge, and tells whether it is removed. */
  private boolean decide(Divergence found, double threshold) {
    int edge = order[decided];
    Divergence divergence = found;
    if (!(divergence.exact && current.exact) && isNear(divergence, threshold)) {
      divergence = exact(with(edge));
      current = current.exact ? current : exact(removed);
    }
    boolean remove = divergence.value - current.value < threshold;
    if (remove) {
      removed.set(edge);
      current = divergence;
      scores[edge] = Math.min(scores[edge], threshold);
    }
    decided++;
    sink.decided(
        (long) runs.size() * order.length + decided, threshold, edge, divergence.value, remove);
    checkpoint.reached(this::state);
    return remove;
  }

  private boolean isNear(Divergence divergence, double threshold) {
    double error =
        faithfulness.error(divergence.value, logitError)
            + faithfulness.error(current.value, logitError);
    return Math.abs(divergence.value - current.value - threshold) <= error;
  }

  private Divergence exact(BitSet patched) {
    try (CallScope scope = new CallScope()) {
      return new Divergence(divergence(logits(context(patched))), true);
    }
  }

  private double divergence(Tensor logits) {
    double value =
        faithfulness
            .divergence(logits.to(ScalarType.Double), target, clean.attentionMask())
            .item_double();
    if (!Double.isFinite(value)) { // compared with a threshold it would keep every edge
      throw model.precision().notFinite("logits");
    }
    return value;
  }

  private Tensor logits(PatchContext context) {
    ForwardRequest request = ForwardRequest.of(clean).withContext(context).withGrad(false);
    return model.forward(request).logits();
  }

  private PatchContext context(BitSet patched) {
    return PatchContext.of(corrupt, Masks.ofEdges(EdgeSet.ofIndices(graph(), patched)));
  }

  private ModelGraph graph() {
    return model.graph();
  }

  private BitSet with(int edge) {
    BitSet more = (BitSet) removed.clone();
    more.set(edge);
    return more;
  }
}
