package org.autocircuit.mode;

import com.google.errorprone.annotations.MustBeClosed;
import java.util.Collection;
import java.util.List;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.MaskParameters;
import org.autocircuit.patch.MaskValues;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.patch.Use;

/**
 * The part of a {@code PatchableModel}, which alone extends it, that opens modes: the counterparts
 * of the Python original's context managers. What holds for all modes is said at {@link
 * org.autocircuit.mode.ModelScope}. All methods throw an {@link IllegalStateException} if the model
 * is closed.
 */
public abstract class ModelModes {

  private final Modes modes;
  private final MaskParameters masks;

  /**
   * Takes the masks over.
   *
   * @param owner what the model is called in messages
   * @param masks the default ones
   */
  protected ModelModes(String owner, MaskParameters masks) {
    this.modes = new Modes(owner);
    this.masks = masks;
  }

  /** The graph whose edges can be patched. */
  public final ModelGraph graph() {
    return masks.graph();
  }

  /**
   * The default masks, at first 0: what {@link #patchMode(SourceActivations)} patches with.
   * Confined to the thread that made the model, and closed with it. No patch mode writes them:
   * {@code masks().setEdges(edges)} does, for good, as the original's {@code patch_mode} with
   * edges.
   */
  public final MaskParameters masks() {
    requireOpen();
    return masks;
  }

  /** Masks of value 0 for this thread, to be closed by the caller. */
  public final MaskParameters newMaskParameters() {
    requireOpen();
    return masks.another();
  }

  /**
   * Patches with the default masks as they stand; the original's {@code patch_mode} without edges.
   */
  @MustBeClosed
  public final PatchMode patchMode(SourceActivations activations) {
    return patchMode(activations, masks());
  }

  /**
   * Patches edges with masks of the mode's own: 1 for these edges and 0 for all others. The default
   * masks are neither read nor written. (The original's {@code patch_mode} leaves the model's masks
   * so when it ends; for that, and to train these masks, set {@link #masks()} to the edges and open
   * {@link #patchMode(SourceActivations)}.)
   *
   * @throws IllegalArgumentException if an edge is not part of the graph (the original ignores it)
   */
  @MustBeClosed
  public final PatchMode patchMode(SourceActivations activations, Collection<Edge> edges) {
    return patchMode(activations, EdgeSet.of(graph(), edges));
  }

  /** As {@link #patchMode(SourceActivations, Collection)}. */
  @MustBeClosed
  public final PatchMode patchMode(SourceActivations activations, EdgeSet edges) {
    return patchMode(activations, Masks.ofEdges(edges));
  }

  /**
   * As {@link #patchMode(SourceActivations, Collection)}, at all positions of the edges named.
   *
   * @throws IllegalArgumentException if there is no edge of some name; suggests the nearest name
   */
  @MustBeClosed
  public final PatchMode patchModeByName(
      SourceActivations activations, Collection<String> edgeNames) {
    return patchMode(activations, EdgeSet.ofNames(graph(), edgeNames));
  }

  /** Patches with masks of one's own; the default ones are neither read nor written. */
  @MustBeClosed
  public final PatchMode patchMode(SourceActivations activations, MaskValues masks) {
    return patchMode(activations, masks, null);
  }

  /**
   * Patches with masks of one's own, in passes that start at a later block.
   *
   * @param startSourceOutputs outputs of the sources before that block ({@code curr_src_outs} in
   *     the original); {@code null} for none
   */
  @MustBeClosed
  public final PatchMode patchMode(
      SourceActivations activations, MaskValues masks, SourceActivations startSourceOutputs) {
    requireOpen();
    check(activations, masks);
    return modes.patch(activations, masks, startSourceOutputs);
  }

  /** Applies a function to mask values; the original's {@code mask_fn_mode} without dropout. */
  @MustBeClosed
  public final MaskFnMode maskFnMode(MaskFn maskFn) {
    return maskFnMode(maskFn, 0);
  }

  /** Applies a function and, while the masks are being trained, dropout to mask values. */
  @MustBeClosed
  public final MaskFnMode maskFnMode(MaskFn maskFn, double dropout) {
    return maskFnMode(maskFn, dropout, Noise.DEFAULT);
  }

  /**
   * Applies a function and, while the masks are being trained, dropout to mask values.
   *
   * @param noise of the first pass; with a seed, each further pass of the mode is one step on
   */
  @MustBeClosed
  public final MaskFnMode maskFnMode(MaskFn maskFn, double dropout, Noise noise) {
    requireOpen();
    return modes.maskFn(maskFn, dropout, noise);
  }

  /** Trains the default masks; the original's {@code train_mask_mode}. */
  @MustBeClosed
  public final TrainMaskMode trainMaskMode() {
    return trainMaskMode(true);
  }

  /** Trains the default masks; without gradients only dropout acts. */
  @MustBeClosed
  public final TrainMaskMode trainMaskMode(boolean requiresGrad) {
    return trainMaskMode(masks(), requiresGrad);
  }

  /** Trains masks of one's own, which are those that patch modes and contexts name. */
  @MustBeClosed
  public final TrainMaskMode trainMaskMode(MaskParameters parameters) {
    return trainMaskMode(parameters, true);
  }

  /** Trains masks of one's own; without gradients only dropout acts. */
  @MustBeClosed
  public final TrainMaskMode trainMaskMode(MaskParameters parameters, boolean requiresGrad) {
    requireOpen();
    return modes.train(parameters, requiresGrad);
  }

  /**
   * Gives the default masks values of their own for each example; the original's {@code
   * set_mask_batch_size}.
   *
   * @param batchSize number of examples, at least 1
   */
  @MustBeClosed
  public final MaskBatchSize setMaskBatchSize(int batchSize) {
    return setMaskBatchSize(masks(), batchSize);
  }

  /** Gives masks of one's own values for each example. */
  @MustBeClosed
  public final MaskBatchSize setMaskBatchSize(MaskParameters parameters, int batchSize) {
    requireOpen();
    return modes.maskBatchSize(parameters, batchSize);
  }

  /** The modes that are open on any thread, in words. */
  public final List<String> openScopes() {
    return modes.describeOpen();
  }

  /** Fails if the model is closed. */
  protected abstract void requireOpen();

  /** Fails if passes could not be patched so. Batch and positions are those of each pass. */
  protected abstract void check(SourceActivations activations, MaskValues masks);

  /** The context of this thread's next pass, with noise of its own. */
  protected final PatchContext nextContext() {
    return modes.next();
  }

  /** Keeps the default masks open for this thread. */
  @MustBeClosed
  protected final Use useMasks() {
    return masks.use();
  }

  /**
   * Closes the modes of this thread, and the default masks. Modes that are open on other threads
   * are logged.
   *
   * @throws org.autocircuit.exception.ScopeOrderException if modes were open on this thread
   */
  protected final void closeModes() {
    try {
      modes.closeAll();
    } finally {
      masks.close();
    }
  }
}
