package org.autocircuit.prune;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import org.autocircuit.PatchableModel;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.Stop;
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
    void decided(double threshold, int edge, double divergence, boolean removed);
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
  private final Sink sink;
  private final double[] scores;
  private final List<AcdcResult.Run> runs = new ArrayList<>();

  private BitSet removed;
  private Divergence current;

  /**
   * Prepares the walk. The tensors belong to the scope around it.
   *
   * @param order indices of edges, those of later destinations first
   * @param removedBefore edges that are removed from the beginning, none of them of the order
   * @param sequential whether each test is a whole run
   * @param tolerance share of the greatest logit by which logits of one run and another may differ
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
      Sink sink) {
    this.model = model;
    this.clean = clean;
    this.corrupt = corrupt;
    this.faithfulness = faithfulness;
    this.order = order;
    this.removedBefore = removedBefore;
    this.sequential = sequential;
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

  void run(double threshold) {
    decideAll(threshold);
    EdgeSet circuit = EdgeSet.ofIndices(graph(), removed).complement();
    runs.add(new AcdcResult.Run(threshold, circuit));
  }

  private void decideAll(double threshold) {
    removed = (BitSet) removedBefore.clone();
    current = removed.isEmpty() ? new Divergence(0, true) : exact(removed);
    if (sequential) {
      for (int edge : order) {
        Stop.check();
        decide(edge, exact(with(edge)), threshold);
      }
      return;
    }
    try (IncrementalRun run = model.incrementalRun(clean, context(removed))) {
      for (int edge : order) {
        Stop.check();
        IncrementalRun.Candidate candidate = run.withMasks(EdgeSet.of(graph(), edge), 1);
        if (decide(edge, test(candidate), threshold)) {
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

  /** Decides an edge, and tells whether it is removed. */
  private boolean decide(int edge, Divergence found, double threshold) {
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
    sink.decided(threshold, edge, divergence.value, remove);
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
