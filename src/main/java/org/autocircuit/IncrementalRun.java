package org.autocircuit;

import java.util.Objects;
import org.autocircuit.PassArguments.Size;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.IncrementalHandle;
import org.autocircuit.internal.NativeMath;
import org.autocircuit.internal.jfr.ForwardEvent;
import org.autocircuit.internal.jfr.WorkspaceEvent;
import org.autocircuit.patch.OutputSlice;
import org.autocircuit.patch.PatchContext;
import org.bytedeco.pytorch.Tensor;

/**
 * A patched run of which everything is kept, so that runs on the same prompts with a few other
 * masks cost what changes: what comes before the first of these edges' destinations is not computed
 * again, nor are heads and MLPs that nothing of it reaches, nor those that reach nothing. For
 * searches that try many edges, such as {@link org.autocircuit.prune.Acdc}.
 *
 * <pre>{@code
 * try (IncrementalRun run = IncrementalRun.begin(model, clean, context)) {
 *   for (Edge edge : edges) {
 *     Tensor logits = run.withMasks(EdgeSet.of(model.graph(), List.of(edge)), 1);
 *     if (isGood(logits)) {
 *       run.keep(); // the next edges come on top of this one
 *     }
 *   }
 * }
 * }</pre>
 *
 * <p>Equal to whole runs but for rounding, as {@link org.autocircuit.patch.PlanPolicy} says of
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
 * changed in place, every call fails with a {@link NativeException} that says so: begin another
 * run.
 */
public final class IncrementalRun implements AutoCloseable {

  private final String model;
  private final ModelGraph graph;
  private final Size size;
  private final IncrementalHandle handle;

  /** Takes charge of the native run. */
  IncrementalRun(String model, ModelGraph graph, Size size, IncrementalHandle handle) {
    this.model = model;
    this.graph = graph;
    this.size = size;
    this.handle = handle;
  }

  /** As {@link #begin(PatchableModel, ModelInput, PatchContext, OutputSlice)}, at the model's. */
  public static IncrementalRun begin(PatchableModel model, ModelInput input, PatchContext context) {
    return begin(model, input, context, model.options().outputSlice());
  }

  /**
   * Makes the run that others go on from, without gradients.
   *
   * @param context a patched one, without mask function or dropout, and with masks that all
   *     examples share
   * @param slice positions of the logits
   * @throws IllegalArgumentException if something does not fit the model, or the context is another
   * @throws IllegalStateException if the model or the activations are closed
   */
  public static IncrementalRun begin(
      PatchableModel model, ModelInput input, PatchContext context, OutputSlice slice) {
    Objects.requireNonNull(slice, "slice");
    return model.incrementalRun(input, context, slice);
  }

  /** Logits of the run that others go on from; the caller's. */
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
    event.end(model, size.batch(), size.seq(), true, false, false);
    return logits;
  }

  /**
   * Makes the run of the last {@link #withMasks} the one that others go on from; before the first,
   * a second time, or if that one failed, it does nothing.
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
