package org.autocircuit.prune;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.stream.IntStream;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.TensorArrays;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The walk of {@link Acdc} over the edges, once for each threshold. In each round the next few
 * edges are tested in one pass, each as if the earlier ones of the round had been decided as
 * guessed; decisions count up to and with the first that was guessed wrong.
 */
final class AcdcSearch {

  /** Takes what {@link Acdc.Decision} has of an edge. */
  interface Sink {
    void decided(double threshold, int edge, double divergence, boolean removed);
  }

  /** Decisions that a guess looks back at. */
  private static final int RECENT = 16;

  /** A divergence; exact if it is one that the sequential algorithm would have got. */
  private record Divergence(double value, boolean exact) {}

  private final CandidateRuns runs;
  private final FaithfulnessTarget faithfulness;
  private final Tensor target;
  private final int[] order;
  private final int[] blocks;
  private final int most;
  private final double logitError;
  private final Sink sink;
  private final BitSet removedBefore;
  private final LiveSources liveBefore;
  private final double[] scores;

  /** The greatest threshold at which an edge was kept. */
  private final double[] kept;

  private BitSet removed;
  private LiveSources live;
  private Divergence current;

  /** Where the sequential algorithm's run for the current divergence began. */
  private int currentBlock;

  private int width;
  private final boolean[] recent = new boolean[RECENT];
  private int decisions;

  /**
   * Prepares the walk. The tensors belong to the scope around it.
   *
   * @param order indices of edges, in descending order of their destinations' blocks
   * @param blocks of the destination of each edge
   * @param removedBefore edges that are removed from the beginning, none of them of the order
   * @param most edges tested in one pass; 1: the sequential algorithm
   * @param tolerance share of the greatest logit by which logits of one pass and another may differ
   */
  AcdcSearch(
      CandidateRuns runs,
      ModelGraph graph,
      FaithfulnessTarget faithfulness,
      int[] order,
      int[] blocks,
      BitSet removedBefore,
      int most,
      double tolerance,
      Sink sink) {
    this.runs = runs;
    this.faithfulness = faithfulness;
    this.order = order;
    this.blocks = blocks;
    this.removedBefore = removedBefore;
    this.most = most;
    this.sink = sink;
    Tensor clean = runs.cleanLogits().to(ScalarType.Double);
    target = faithfulness.target(clean);
    logitError = tolerance * clean.abs().max().item_double();
    liveBefore = LiveSources.of(graph);
    removedBefore.stream().forEach(liveBefore::remove);
    scores = new double[graph.nEdges()];
    kept = new double[graph.nEdges()];
    Arrays.fill(scores, Double.POSITIVE_INFINITY);
    Arrays.fill(kept, Double.NEGATIVE_INFINITY);
    removedBefore.stream().forEach(edge -> scores[edge] = 0);
    width = most;
  }

  /** The smallest threshold at which each edge was removed so far, or infinity. */
  double[] scores() {
    return scores;
  }

  void run(double threshold) {
    removed = (BitSet) removedBefore.clone();
    live = liveBefore.copy();
    currentBlock = removed.stream().map(edge -> blocks[edge]).min().orElse(0);
    current =
        removed.isEmpty()
            ? new Divergence(0, true)
            : exact(new Divergence(Double.NaN, false), currentBlock, removed);
    for (int at = 0; at < order.length; ) {
      at = round(at, threshold);
    }
  }

  /** Decides some edges from a position on; the position after them. */
  private int round(int from, double threshold) {
    List<BitSet> candidates = new ArrayList<>();
    List<Boolean> guesses = new ArrayList<>();
    BitSet guessed = (BitSet) removed.clone();
    LiveSources guessedLive = live.copy();
    for (int at = from;
        at < order.length && candidates.size() < width && blocks[order[at]] == blocks[order[from]];
        at++) {
      int edge = order[at];
      boolean dead = isDead(guessedLive, edge);
      if (!dead) {
        candidates.add(with(guessed, edge));
      }
      boolean guess = dead || guess(edge, threshold);
      guesses.add(guess);
      if (guess) {
        guessed.set(edge);
        guessedLive.remove(edge);
      }
    }
    double[] tested = divergences(blocks[order[from]], candidates);
    boolean exact = candidates.size() == 1;
    int used = 0;
    for (int i = 0; i < guesses.size(); i++) {
      int at = from + i;
      // What is dead would leave the divergence as it is, but for rounding.
      Divergence divergence =
          isDead(live, order[at])
              ? new Divergence(current.value, false)
              : new Divergence(tested[used++], exact);
      if (decide(at, divergence, threshold) != guesses.get(i)) {
        width = Math.max(1, used);
        return at + 1;
      }
    }
    width = Math.min(most, Math.max(1, 2 * width));
    return from + guesses.size();
  }

  /** Decides an edge, and tells whether it is removed. */
  private boolean decide(int at, Divergence found, double threshold) {
    int edge = order[at];
    Divergence divergence = found;
    if (!(divergence.exact && current.exact) && isNear(divergence, threshold)) {
      divergence = exact(divergence, blocks[edge], with(removed, edge));
      current = exact(current, currentBlock, removed);
    }
    boolean remove = divergence.value - current.value < threshold;
    recent[decisions++ % RECENT] = remove;
    if (remove) {
      removed.set(edge);
      live.remove(edge);
      current = divergence;
      currentBlock = blocks[edge];
      scores[edge] = Math.min(scores[edge], threshold);
    } else {
      kept[edge] = Math.max(kept[edge], threshold);
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

  private Divergence exact(Divergence divergence, int block, BitSet patched) {
    return divergence.exact
        ? divergence
        : new Divergence(divergences(block, List.of(patched))[0], true);
  }

  /** As at a threshold that tells; else as most edges of late. */
  private boolean guess(int edge, double threshold) {
    if (scores[edge] <= threshold) {
      return true;
    }
    if (kept[edge] >= threshold) {
      return false;
    }
    int known = Math.min(decisions, RECENT);
    long removals = IntStream.range(0, known).filter(i -> recent[i]).count();
    return 2 * removals >= known;
  }

  private boolean isDead(LiveSources sources, int edge) {
    return most > 1 && sources.isDead(edge);
  }

  private double[] divergences(int block, List<BitSet> candidates) {
    if (candidates.isEmpty()) {
      return new double[0];
    }
    try (CallScope scope = new CallScope()) {
      Tensor logits = runs.logits(block, candidates).to(ScalarType.Double);
      return TensorArrays.doubles(faithfulness.divergences(logits, target));
    }
  }

  private static BitSet with(BitSet edges, int edge) {
    BitSet more = (BitSet) edges.clone();
    more.set(edge);
    return more;
  }
}
