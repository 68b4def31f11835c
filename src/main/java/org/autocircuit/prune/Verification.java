package org.autocircuit.prune;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.Collection;
import java.util.List;
import java.util.Objects;
import java.util.OptionalLong;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.data.SeededShuffle;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.Numbers;
import org.autocircuit.pass.Progress;
import org.autocircuit.prune.VerifiedScores.VerifiedEdge;

/**
 * Tests estimated scores against exact ones: patches the best edges by estimate and a random sample
 * of all others, each by itself ({@link EdgeActivationPatching}), within a budget. Gradients are
 * first-order estimates; how good they are depends on the task, and this says so.
 *
 * <pre>{@code
 * PruneScores estimates = MaskGradient.builder().build().pruneScores(model, batches);
 * VerifiedScores verified =
 *     Verification.builder().top(20).sample(40).build().verify(model, batches, estimates);
 * System.out.println(verified); // how far the estimates can be trusted
 * PruneScores better = verified.scores();
 * }</pre>
 *
 * <p>Best and random edges take turns, in the proportion that was asked for, so that a budget which
 * is spent too early leaves some of both. The sample depends on the seed and the scores alone.
 *
 * <p>Immutable; safe to share between threads.
 */
public final class Verification {

  private static final int FIRST_EDGES = 6;

  private final EdgeActivationPatching patching;
  private final int top;
  private final int sample;
  private final OptionalLong forwards;
  private final Duration time;
  private final long seed;

  private Verification(Builder builder) {
    patching = builder.patching;
    top = builder.top;
    sample = builder.sample;
    forwards = builder.forwards;
    time = builder.time;
    seed = builder.seed;
  }

  /** Begins with the best 20 edges, 40 random ones, the answers' logit difference, no limit. */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * Patches edges of the model and compares.
   *
   * @param model its masks are not touched
   * @param batches at least one; what the scores were found on, or others
   * @param estimates scores of this model's edges whose sign is that of exact effects: positive
   *     says that patching the edge hurts
   * @throws IllegalArgumentException if the scores are of another graph, a batch does not fit the
   *     model, or the budget of forwards does not reach for one edge
   * @throws IllegalStateException if the model is closed
   * @throws org.autocircuit.exception.NotFiniteException if a logit or a loss is NaN or infinite
   * @throws org.autocircuit.exception.StoppedException if it was stopped
   */
  public VerifiedScores verify(
      PatchableModel model, Collection<? extends PromptPairBatch> batches, PruneScores estimates) {
    return verify(model, batches, estimates, Progress.NONE);
  }

  /**
   * As {@link #verify(PatchableModel, Collection, PruneScores)}.
   *
   * @param progress is told of the edges so far, and of how many there are at most; the time may be
   *     over before
   */
  public VerifiedScores verify(
      PatchableModel model,
      Collection<? extends PromptPairBatch> batches,
      PruneScores estimates,
      Progress progress) {
    Objects.requireNonNull(progress, "progress");
    ModelGraph graph = model.graph();
    if (!estimates.graph().equals(graph)) {
      throw new IllegalArgumentException(
          "estimates: expected scores of the model's %s, got those of another %s"
              .formatted(graph, estimates.graph()));
    }
    Plan plan = new Plan(estimates);
    List<VerifiedEdge> best = new ArrayList<>();
    List<VerifiedEdge> random = new ArrayList<>();
    int limit = within(batches.size(), plan.order.size());
    long start = System.nanoTime();
    int done = 0;
    int next = Math.min(FIRST_EDGES, limit);
    while (next > 0) {
      List<Edge> edges = plan.order.subList(done, done + next);
      PruneScores exact = patching.withEdges(edges).pruneScores(model, batches);
      for (Edge edge : edges) {
        VerifiedEdge verified = new VerifiedEdge(edge, estimates.get(edge), exact.get(edge));
        (plan.isBest(edge) ? best : random).add(verified);
      }
      done += next;
      progress.report(done, limit);
      next = Math.min(limit - done, affordable(System.nanoTime() - start, done));
    }
    return new VerifiedScores(estimates, best, random, plan.best.cardinality(), plan.random, seed);
  }

  private int within(int batches, int edges) {
    if (forwards.isEmpty()) {
      return edges;
    }
    long within = forwards.getAsLong() / Math.max(batches, 1);
    if (within == 0) {
      throw new IllegalArgumentException(
          "forwards: expected at least one for each of %s batches, got %s"
              .formatted(batches, forwards.getAsLong()));
    }
    return (int) Math.min(edges, within);
  }

  /** Returns how many more edges the time is likely to reach for. */
  private int affordable(long nanos, int done) {
    if (time == null) {
      return Integer.MAX_VALUE;
    }
    double left = (double) time.toNanos() - nanos;
    return (int) Math.max(0, Math.min(left / nanos * done, 1 << 20));
  }

  /** The edges to patch, in turn. */
  private final class Plan {

    final BitSet best = new BitSet();
    final List<Edge> order = new ArrayList<>();
    final int random;
    private final ModelGraph graph;

    Plan(PruneScores estimates) {
      graph = estimates.graph();
      List<ScoredEdge> chosen = estimates.top(top);
      chosen.forEach(edge -> best.set(graph.index(edge.edge())));
      int[] others =
          Arrays.stream(SeededShuffle.order(graph.nEdges(), seed))
              .filter(edge -> !best.get(edge))
              .limit(sample)
              .toArray();
      random = others.length;
      int taken = 0;
      for (int i = 0; i < chosen.size(); i++) {
        order.add(chosen.get(i).edge());
        int upTo = (int) ((long) (i + 1) * random / chosen.size());
        for (; taken < upTo; taken++) {
          order.add(graph.edge(others[taken]));
        }
      }
      for (; taken < random; taken++) {
        order.add(graph.edge(others[taken]));
      }
    }

    boolean isBest(Edge edge) {
      return best.get(graph.index(edge));
    }
  }

  /** Collects settings. Not safe for use by several threads. */
  public static final class Builder {

    private EdgeActivationPatching patching = EdgeActivationPatching.builder().build();
    private int top = 20;
    private int sample = 40;
    private OptionalLong forwards = OptionalLong.empty();
    private Duration time;
    private long seed;

    private Builder() {}

    /**
     * Sets how edges are patched: the loss and the ablation of the estimates. The edges that it
     * names have no effect.
     */
    public Builder patching(EdgeActivationPatching value) {
      patching = Objects.requireNonNull(value, "patching");
      return this;
    }

    /**
     * Sets how many of the best edges are patched.
     *
     * @throws IllegalArgumentException if it is negative
     */
    public Builder top(int value) {
      top = Numbers.atLeast(0, "top", value);
      return this;
    }

    /**
     * Sets how many other edges are drawn and patched.
     *
     * @throws IllegalArgumentException if it is negative
     */
    public Builder sample(int value) {
      sample = Numbers.atLeast(0, "sample", value);
      return this;
    }

    /**
     * Limits the runs: one for each edge and batch.
     *
     * @throws IllegalArgumentException if it is not positive
     */
    public Builder forwards(long value) {
      forwards = OptionalLong.of(Numbers.atLeast(1, "forwards", value));
      return this;
    }

    /**
     * Limits the time. At least six edges are patched, and no more begun than are likely to end in
     * time.
     *
     * @throws IllegalArgumentException if it is not positive
     */
    public Builder time(Duration value) {
      if (value.isNegative() || value.isZero()) {
        throw new IllegalArgumentException("time: expected some, got " + value);
      }
      time = value;
      return this;
    }

    /** Sets the seed of the sample, and of the intervals; 0 without it. */
    public Builder seed(long value) {
      seed = value;
      return this;
    }

    /**
     * Makes it.
     *
     * @throws IllegalArgumentException if no edge at all is to be patched
     */
    public Verification build() {
      if (top + sample == 0) {
        throw new IllegalArgumentException("expected edges to patch, got top 0 and sample 0");
      }
      return new Verification(this);
    }
  }
}
