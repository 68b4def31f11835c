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
 *     Tensor logits = run.withMasks(EdgeSet.of(model.graph(), List.of(edge)), 1);
 *     if (isGood(logits)) {
 *       run.keep(); // the next edges come on top of this one
 *     }
 *   }
 * }
 * }</pre>
 *
 * <p>Equal to whole runs but for rounding, as {@link org.autocircuit.pass.PlanPolicy} says of
 * executors. Where no plan can be made (one input for q, k and v, residual graphs, the micro model)
 * and in 16 bits each run is a whole one.
 *
 * <p><b>Memory.</b> Two source buffers {@code [n_srcs, batch, seq, d_model]} and what each
 * destination reads, {@code [batch, seq, d_model]} for each row whose masks are not all equal.
 *
 * <p><b>Threads.</b> Any number may use it, one at a time; {@link #keep} is about the last run of
 * any of them.
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
   * Logits of the run in which the masks of some edges are one value, and all others as they are.
   *
   * @param value 0: as the model is; 1: patched
   * @return the caller's: {@code [batch, d_vocab]} or {@code [batch, positions, d_vocab]}
   * @throws IllegalArgumentException if the edges are of another graph
   * @throws IllegalStateException if this is closed
   */
  public Tensor withMasks(EdgeSet edges, double value) {
    if (!edges.graph().equals(graph)) {
      throw new IllegalArgumentException(
          "edges: expected those of %s, got %s".formatted(graph, edges.graph()));
    }
    ForwardEvent event = ForwardEvent.begun();
    Tensor logits = handle.logits(edges.indices().asLongStream().toArray(), value);
    WorkspaceEvent.ifGrown(NativeMath::workspaceBytes);
    event.end(model, batch, seq, true, false, false);
    return logits;
  }

  /**
   * Makes the run of the last {@link #withMasks} the new baseline; before the first, a second time,
   * or if that one failed, it does nothing.
   */
  public void keep() {
    handle.keep();
  }

  /** Gives the memory back. Does nothing the second time. */
  @Override
  public void close() {
    handle.close();
  }
}
