package org.autocircuit.patch;

import com.google.errorprone.annotations.MustBeClosed;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.OptionalInt;
import java.util.stream.LongStream;
import org.autocircuit.graph.DestModule;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.Access;
import org.autocircuit.internal.Arguments;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.NativeResource;
import org.autocircuit.internal.TensorArrays;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Mask values that can be changed and trained: one flat tensor {@code [n_masks]}, or {@code [batch,
 * n_masks]} inside a {@link org.autocircuit.mode.MaskBatchSize}, of 32-bit floats (64-bit ones in a
 * model of 64-bit floats) and on the model's device. The values of one destination module are a
 * view on it.
 *
 * <p>Passes are recorded only inside a {@link org.autocircuit.mode.TrainMaskMode}. Gradients stay
 * when it is closed, until {@link #zeroGrad} or the next one; and a pass recorded inside can go
 * backward later. (In the original a backward pass after the mode leaves no gradients, and nothing
 * says so.)
 *
 * <p><b>Threads.</b> Confined to the thread that made it: every method but {@link #close} and
 * {@link #use} throws an {@link IllegalStateException} on others. Each thread makes its own with
 * {@code PatchableModel.newMaskParameters()}, or uses {@link Masks}, which are immutable.
 *
 * <p><b>Ownership.</b> Close it, except for the default masks of a model, which the model closes.
 */
public final class MaskParameters implements MaskValues, AutoCloseable {

  private static final String NAME = "MaskParameters";

  static {
    Access.register(
        MaskParameters.class,
        new Access.OfMaskParameters<MaskParameters>() {
          @Override
          public Runnable train(MaskParameters masks, boolean wantsGradients) {
            return masks.train(wantsGradients);
          }

          @Override
          public Runnable enter(MaskParameters masks, int examples) {
            return masks.enter(examples);
          }

          @Override
          public Tensor inForce(MaskParameters masks) {
            masks.requireOwner();
            return masks.layers.inForce();
          }

          @Override
          public Tensor outsideModes(MaskParameters masks) {
            return masks.outsideModes();
          }
        });
  }

  private final ModelGraph graph;
  private final ScalarType type;
  private final String device;
  private final Thread thread = Thread.currentThread();

  private final MaskLayers layers;

  private MaskParameters(ModelGraph graph, ScalarType type, String device, MaskLayers layers) {
    this.graph = graph;
    this.type = type;
    this.device = device;
    this.layers = layers;
  }

  /**
   * Masks of value 0 for the calling thread, which {@code PatchableModel.newMaskParameters()} makes
   * to fit a model.
   *
   * @param type in which the model accumulates
   * @param device where the model is
   */
  public static MaskParameters zeros(ModelGraph graph, ScalarType type, String device) {
    try (CallScope scope = new CallScope()) {
      Tensor values = TensorArrays.zeros(type, device, graph.maskSize());
      return new MaskParameters(graph, type, device, new MaskLayers(NAME, values, scope));
    }
  }

  /** Masks of value 0 of the same graph, type and device, for the calling thread. */
  public MaskParameters another() {
    return zeros(graph, type, device);
  }

  /** A copy of the values {@code [n_masks]} that hold outside of all modes, on any thread. */
  private Tensor outsideModes() {
    try (NativeResource.Use use = layers.use();
        CallScope scope = new CallScope()) {
      return scope.handOut(layers.outermost().values().clone());
    }
  }

  @Override
  public ModelGraph graph() {
    return graph;
  }

  @Override
  public OptionalInt examples() {
    try (NativeResource.Use use = begin()) {
      return layers.current().examples();
    }
  }

  /**
   * Sets one value, of every example.
   *
   * @param index the edge's index
   */
  public void set(int index, double value) {
    Objects.checkIndex(index, graph.maskSize());
    try (NativeResource.Use use = begin();
        CallScope scope = new CallScope()) {
      layers.current().values().narrow(-1, index, 1).fill_(new Scalar(value));
    }
  }

  /**
   * Sets the value of an edge.
   *
   * @throws IllegalArgumentException if it is not part of the graph
   */
  public void set(Edge edge, double value) {
    set(graph.index(edge), value);
  }

  /**
   * Sets the values of the edge with the given name, at all positions or as {@code NAME@N} at one.
   *
   * @throws IllegalArgumentException if there is no such edge; suggests the nearest name
   */
  public void set(String edgeName, double value) {
    for (int index : graph.indices(edgeName)) {
      set(index, value);
    }
  }

  /** Sets all values; the counterpart of the Python original's {@code set_all_masks}. */
  public void setAll(double value) {
    try (NativeResource.Use use = begin();
        CallScope scope = new CallScope()) {
      layers.current().values().fill_(new Scalar(value));
    }
  }

  /**
   * Sets the values of the given edges to 1 and all others to 0.
   *
   * @throws IllegalArgumentException if the edges are those of another graph
   */
  public void setEdges(EdgeSet edges) {
    checkGraph(edges.graph());
    set(edges.mask(1, 0));
  }

  /**
   * Sets all values, the same for every example.
   *
   * @param newValues one for each edge index
   * @throws IllegalArgumentException if they are not as many as the graph has edges
   */
  public void set(float[] newValues) {
    Masks.checkSize(graph, newValues.length);
    try (NativeResource.Use use = begin();
        CallScope scope = new CallScope()) {
      layers.current().values().copy_(TensorArrays.of(newValues, type, device, newValues.length));
    }
  }

  /**
   * Sets all values, the same for every example.
   *
   * @param newValues one for each edge index
   * @throws IllegalArgumentException if they are not as many as the graph has edges
   */
  public void set(double[] newValues) {
    Masks.checkSize(graph, newValues.length);
    try (NativeResource.Use use = begin();
        CallScope scope = new CallScope()) {
      layers.current().values().copy_(TensorArrays.of(newValues, type, device, newValues.length));
    }
  }

  /**
   * Copies the values of other masks, of each example or the same for all.
   *
   * @throws IllegalArgumentException if they are those of another graph, or for another number of
   *     examples
   */
  public void set(MaskValues masks) {
    checkGraph(masks.graph());
    double[] newValues = masks.toArray();
    if (masks.examples().isEmpty()) {
      set(newValues);
      return;
    }
    try (CallScope scope = new CallScope()) {
      set(TensorArrays.of(newValues, type, device, masks.examples().getAsInt(), graph.maskSize()));
    }
  }

  /**
   * Copies values from a tensor.
   *
   * @param newValues {@code [n_masks]}, or inside a {@link org.autocircuit.mode.MaskBatchSize} also
   *     {@code [batch, n_masks]}, of any floating-point type and device
   */
  public void set(Tensor newValues) {
    Arguments.live("masks", newValues);
    try (NativeResource.Use use = begin();
        CallScope scope = new CallScope()) {
      OptionalInt examples = layers.current().examples();
      if (examples.isPresent() && newValues.dim() == 2) {
        Arguments.shape(
            "masks", newValues, "[batch, n_masks]", examples.getAsInt(), graph.maskSize());
      } else {
        Arguments.shape("masks", newValues, "[n_masks]", graph.maskSize());
      }
      layers.current().values().copy_(newValues.detach());
    }
  }

  @Override
  public double[] toArray() {
    try (NativeResource.Use use = begin();
        CallScope scope = new CallScope()) {
      return TensorArrays.doubles(layers.current().values());
    }
  }

  /**
   * The values {@code [n_masks]} or {@code [batch, n_masks]} themselves: what is written to the
   * tensor changes these masks. Inside a {@link org.autocircuit.mode.TrainMaskMode} it is the leaf
   * that gathers gradients, for optimisers: always the same one, or inside a {@link
   * org.autocircuit.mode.MaskBatchSize} always that mode's. Belongs to the caller's innermost
   * {@code PointerScope}.
   */
  public Tensor tensor() {
    try (NativeResource.Use use = begin();
        CallScope scope = new CallScope()) {
      return scope.handOut(new Tensor(layers.inForce()));
    }
  }

  /**
   * The values of one destination module, as a view {@code ([batch]) ([seq_len]) ([heads]) [n]} on
   * {@link #tensor}: inside a {@link org.autocircuit.mode.TrainMaskMode} it is differentiable.
   * Belongs to the caller's innermost {@code PointerScope}.
   *
   * @throws IllegalArgumentException if no destination is at that hook point; suggests the nearest
   */
  public Tensor module(String moduleName) {
    DestModule module = graph.destModule(moduleName);
    try (NativeResource.Use use = begin();
        CallScope scope = new CallScope()) {
      return scope.handOut(view(layers.inForce(), module));
    }
  }

  /** The values of every destination module by its name, as {@link #module} gives them. */
  public Map<String, Tensor> modules() {
    try (NativeResource.Use use = begin();
        CallScope scope = new CallScope()) {
      Map<String, Tensor> modules = new LinkedHashMap<>();
      for (DestModule module : graph.destModules()) {
        modules.put(module.moduleName(), view(layers.inForce(), module));
      }
      scope.handOutAll(modules.values());
      return Collections.unmodifiableMap(modules);
    }
  }

  /** Returns whether gradients are wanted: inside a {@link org.autocircuit.mode.TrainMaskMode}. */
  public boolean requiresGrad() {
    try (NativeResource.Use use = begin()) {
      return layers.wantsGradients();
    }
  }

  /** Returns whether these masks are being trained, which is when dropout acts. */
  public boolean isTraining() {
    try (NativeResource.Use use = begin()) {
      return layers.isTraining();
    }
  }

  /** Returns whether a backward pass has left gradients. */
  public boolean hasGradients() {
    try (NativeResource.Use use = begin();
        CallScope scope = new CallScope()) {
      return layers.current().gradients().defined();
    }
  }

  /**
   * The gradients {@code [n_masks]} or {@code [batch, n_masks]}, summed over all backward passes
   * since they were last zeroed. Belongs to the caller's innermost {@code PointerScope}.
   *
   * @throws IllegalStateException before a backward
   */
  public Tensor gradients() {
    try (NativeResource.Use use = begin();
        CallScope scope = new CallScope()) {
      return scope.handOut(definedGradients());
    }
  }

  /**
   * The gradients in the order of edge indices; of each example, one row after another.
   *
   * @throws IllegalStateException before a backward
   */
  public double[] gradientArray() {
    try (NativeResource.Use use = begin();
        CallScope scope = new CallScope()) {
      return TensorArrays.doubles(definedGradients());
    }
  }

  /** Forgets the gradients. */
  public void zeroGrad() {
    try (NativeResource.Use use = begin();
        CallScope scope = new CallScope()) {
      layers.current().forgetGradients();
    }
  }

  /**
   * Keeps these masks open for this thread, for work of several calls.
   *
   * @return to be closed on this thread
   * @throws IllegalStateException if closed
   */
  @MustBeClosed
  public Use use() {
    return layers.use()::close;
  }

  /** Returns whether it was closed. */
  public boolean isClosed() {
    return layers.isClosed();
  }

  /** Gives the memory back. Does nothing the second time. May be called from any thread. */
  @Override
  public void close() {
    layers.close();
  }

  /** The size. */
  @Override
  public String toString() {
    return NAME + String.format(Locale.ROOT, " of %,d edges", graph.maskSize());
  }

  /** Begins training, which what is returned ends; see {@link MaskLayers#train}. */
  private Runnable train(boolean wantsGradients) {
    try (NativeResource.Use use = begin()) {
      return layers.train(wantsGradients);
    }
  }

  /** Puts copies of the values in their place; see {@link MaskLayers#enter}. */
  private Runnable enter(int examples) {
    try (NativeResource.Use use = begin()) {
      return layers.enter(examples);
    }
  }

  private NativeResource.Use begin() {
    requireOwner();
    return layers.use();
  }

  private void requireOwner() {
    if (Thread.currentThread() != thread) {
      throw new IllegalStateException(
          ("%s belong to thread %s and were used on thread %s; use Masks, or"
                  + " PatchableModel.newMaskParameters() on each thread")
              .formatted(this, thread.getName(), Thread.currentThread().getName()));
    }
  }

  private Tensor definedGradients() {
    Tensor gradients = layers.current().gradients();
    if (!gradients.defined()) {
      throw new IllegalStateException(
          this + " have no gradients: there was no backward pass inside a TrainMaskMode");
    }
    return gradients;
  }

  private void checkGraph(ModelGraph other) {
    if (!graph.equals(other)) {
      throw new IllegalArgumentException(
          "masks: expected those of a %s, got those of a %s".formatted(graph, other));
    }
  }

  private static Tensor view(Tensor flat, DestModule module) {
    long[] shape = module.maskShape();
    if (flat.dim() == 2) {
      shape = LongStream.concat(LongStream.of(flat.size(0)), LongStream.of(shape)).toArray();
    }
    return flat.narrow(-1, module.offset(), module.size()).view(shape);
  }
}
