package org.autocircuit.pass;

import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.Access;
import org.autocircuit.internal.IncrementalHandle;
import org.autocircuit.internal.NativeMath;
import org.autocircuit.internal.jfr.ForwardEvent;
import org.autocircuit.internal.jfr.WorkspaceEvent;
import org.bytedeco.pytorch.Tensor;

/**
 * Caches one patched run, the baseline. A run on the same prompts that differs in a few masks
 * recomputes only the heads and MLPs that those masks affect and that affect the logits. For
 * searches that try many edges, such as {@link org.autocircuit.prune.Acdc}.
 *
 * <pre>{@code
 * try (IncrementalRun run = model.incrementalRun(clean, context)) {
 *   for (Edge edge : edges) {
 *     IncrementalRun.Candidate candidate = run.withMasks(EdgeSet.of(model.graph(), List.of(edge)), 1);
 *     if (isGood(candidate.logits())) {
 *       candidate.commit(); // the next edges come on top of this one
 *     }
 *   }
 * }
 * }</pre>
 *
 * <p>Equal to whole runs but for rounding, as {@link org.autocircuit.pass.PlanPolicy} says of
 * executors. Where no plan can be made (one input for q, k and v, residual graphs, the micro model)
 * and in 16 bits each run is a whole one.
 *
 * <p>Positions at the beginning whose tokens are those of the corrupt prompts, too, in every pair
 * of the batch, are as in the plain model whatever is patched: they run once. That takes RESAMPLE
 * activations of this model, prompts without padding, and masks that are not for each position.
 *
 * <p><b>Memory.</b> Two source buffers {@code [n_srcs, batch, seq, d_model]} and what each
 * destination reads, {@code [batch, seq, d_model]} for each row whose masks are not all equal.
 *
 * <p><b>Threads.</b> Any number may use it and its candidates; they take turns.
 *
 * <p><b>Ownership.</b> Close it to free the memory. It works after the model and the activations
 * are closed, too. Logits belong to the caller, who may write into them; prompts are copied.
 *
 * <p><b>Errors.</b> A call that fails, for instance since native memory ran out, leaves the run as
 * it was and may be repeated. Once the model's weights, the activations or a prefix have been
 * changed in place, every call fails with a {@link org.autocircuit.exception.NativeException} that
 * says so: begin another run.
 */
public final class IncrementalRun implements AutoCloseable {

  static {
    Access.OfIncrementalRun<IncrementalRun, ModelGraph> accessor = IncrementalRun::new;
    Access.register(IncrementalRun.class, accessor);
  }

  private final String model;
  private final ModelGraph graph;
  private final long batch;
  private final long seq;
  private final IncrementalHandle handle;

  /** Guards what follows, and keeps a pass and its commit together. */
  private final Object lock = new Object();

  private long commits;

  /** The candidate whose pass the native run would commit; {@code null} for none. */
  private Candidate pending;

  /** Takes charge of the native run. */
  private IncrementalRun(
      String model, ModelGraph graph, long batch, long seq, IncrementalHandle handle) {
    this.model = model;
    this.graph = graph;
    this.batch = batch;
    this.seq = seq;
    this.handle = handle;
  }

  /** Returns the baseline's logits; the caller's. */
  public Tensor logits() {
    return handle.logits();
  }

  /**
   * Returns the run in which the masks of some edges are one value, and all others as in the
   * baseline. Nothing is computed before its logits are asked for.
   *
   * @param value 0: as the model is; 1: patched
   * @throws IllegalArgumentException if the edges are of another graph
   */
  public Candidate withMasks(EdgeSet edges, double value) {
    if (!edges.graph().equals(graph)) {
      throw new IllegalArgumentException(
          "edges: expected those of %s, got %s".formatted(graph, edges.graph()));
    }
    synchronized (lock) {
      return new Candidate(edges.indices().asLongStream().toArray(), value, commits);
    }
  }

  /** Gives the memory back. Does nothing the second time. */
  @Override
  public void close() {
    handle.close();
  }

  /**
   * A run that differs from the baseline in a few masks, and may take its place. It holds no native
   * memory, and is of use until one candidate, this or another, is committed.
   */
  public final class Candidate {

    private final long[] places;
    private final double value;
    private final long madeAfter;

    private Candidate(long[] places, double value, long madeAfter) {
      this.places = places;
      this.value = value;
      this.madeAfter = madeAfter;
    }

    /**
     * Runs it and returns its logits.
     *
     * @return the caller's: {@code [batch, d_vocab]} or {@code [batch, positions, d_vocab]}
     * @throws IllegalStateException if a candidate was committed since this one was made, or the
     *     run is closed
     */
    public Tensor logits() {
      synchronized (lock) {
        requireCurrent();
        return run();
      }
    }

    /**
     * Makes this the new baseline. It runs once more if another candidate has run since.
     *
     * @throws IllegalStateException if a candidate, this or another, was committed since this one
     *     was made, or the run is closed
     */
    public void commit() {
      synchronized (lock) {
        requireCurrent();
        if (pending != this) {
          run().close();
        }
        handle.commit();
        pending = null;
        commits++;
      }
    }

    private Tensor run() {
      pending = null; // whatever becomes of the pass
      ForwardEvent event = ForwardEvent.begun();
      Tensor logits = handle.logits(places, value);
      WorkspaceEvent.ifGrown(NativeMath::workspaceBytes);
      event.end(model, batch, seq, true, false, false);
      pending = this;
      return logits;
    }

    private void requireCurrent() {
      if (madeAfter != commits) {
        throw new IllegalStateException(
            "the candidate is stale: the baseline has changed since withMasks made it; ask for"
                + " another one");
      }
    }
  }
}
