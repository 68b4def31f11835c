package org.autocircuit.patch;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.CopyOnWriteArrayList;
import org.autocircuit.graph.DestModule;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.Arguments;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.NativeResource;
import org.autocircuit.internal.TensorArrays;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Mask values that can be changed and trained: one flat tensor {@code [n_masks]}, of the model's
 * precision and on its device. The values of one destination module are a view on it.
 *
 * <p>Passes are recorded only inside a {@link TrainMaskMode}. Gradients stay when it is closed,
 * until {@link #zeroGrad} or the next one; and a pass recorded inside can go backward later. (In
 * the original a backward pass after the mode leaves no gradients, and nothing says so.)
 *
 * <p><b>Threads.</b> Confined to the thread that made it: every method but {@link #close} throws an
 * {@link IllegalStateException} on others. Each thread makes its own with {@code
 * PatchableModel.newMaskParameters()}, or uses {@link Masks}, which are immutable.
 *
 * <p><b>Ownership.</b> Close it, except for the default masks of a model, which the model closes.
 */
public final class MaskParameters implements MaskValues, AutoCloseable {

  private static final String NAME = "MaskParameters";

  private final ModelGraph graph;
  private final ScalarType type;
  private final String device;
  private final Thread thread = Thread.currentThread();

  /** What passes use that are not recorded, and what values are written to. */
  private final Tensor values;

  /** The same memory, but requires gradients: what passes use inside a {@link TrainMaskMode}. */
  private final Tensor leaf;

  private final NativeResource resource;

  /**
   * What began and has not ended, the innermost last. Modes of two models may train the same masks
   * and end in any order. (The modes of a thread that ended are ended by others.)
   */
  private final List<Training> trainings = new CopyOnWriteArrayList<>();

  private MaskParameters(
      ModelGraph graph, ScalarType type, String device, Tensor values, Tensor leaf) {
    this.graph = graph;
    this.type = type;
    this.device = device;
    this.values = values;
    this.leaf = leaf;
    this.resource =
        new NativeResource(
            NAME,
            () -> {
              values.releaseReference();
              leaf.releaseReference();
            });
  }

  /** For the library: masks of value 0. */
  public static MaskParameters zeros(ModelGraph graph, ScalarType type, String device) {
    try (CallScope scope = new CallScope()) {
      Tensor values = scope.keep(TensorArrays.zeros(type, device, graph.maskSize()));
      Tensor leaf = scope.keep(values.detach().set_requires_grad(true));
      return new MaskParameters(graph, type, device, values, leaf);
    }
  }

  /** For the library: masks of value 0 like these, for the calling thread. */
  public MaskParameters another() {
    return zeros(graph, type, device);
  }

  @Override
  public ModelGraph graph() {
    return graph;
  }

  /**
   * Sets one value.
   *
   * @param index the edge's index
   */
  public void set(int index, double value) {
    Objects.checkIndex(index, graph.maskSize());
    try (NativeResource.Use use = use();
        CallScope scope = new CallScope()) {
      values.narrow(0, index, 1).fill_(new Scalar(value));
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
   * Sets the values of the edge with the given name, at all positions.
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
    try (NativeResource.Use use = use();
        CallScope scope = new CallScope()) {
      values.fill_(new Scalar(value));
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
   * Sets all values.
   *
   * @param newValues one for each edge index
   * @throws IllegalArgumentException if they are not as many as the graph has edges
   */
  public void set(float[] newValues) {
    Masks.checkSize(graph, newValues.length);
    try (NativeResource.Use use = use();
        CallScope scope = new CallScope()) {
      values.copy_(TensorArrays.of(newValues, type, device, newValues.length));
    }
  }

  /**
   * Sets all values.
   *
   * @param newValues one for each edge index
   * @throws IllegalArgumentException if they are not as many as the graph has edges
   */
  public void set(double[] newValues) {
    Masks.checkSize(graph, newValues.length);
    try (NativeResource.Use use = use();
        CallScope scope = new CallScope()) {
      values.copy_(TensorArrays.of(newValues, type, device, newValues.length));
    }
  }

  /**
   * Copies the values of other masks.
   *
   * @throws IllegalArgumentException if they are those of another graph, or one set per example
   */
  public void set(MaskValues masks) {
    checkGraph(masks.graph());
    set(masks.toArray());
  }

  /**
   * Copies values from a tensor.
   *
   * @param newValues {@code [n_masks]}, of any floating-point type and device
   */
  public void set(Tensor newValues) {
    Arguments.shape("masks", Arguments.live("masks", newValues), "[n_masks]", graph.maskSize());
    try (NativeResource.Use use = use();
        CallScope scope = new CallScope()) {
      values.copy_(newValues.detach());
    }
  }

  @Override
  public double[] toArray() {
    try (NativeResource.Use use = use();
        CallScope scope = new CallScope()) {
      return TensorArrays.doubles(values);
    }
  }

  /**
   * The values {@code [n_masks]} themselves: what is written to the tensor changes these masks.
   * Inside a {@link TrainMaskMode} it is the leaf that gathers gradients, always the same one, for
   * optimisers. Belongs to the caller's innermost {@code PointerScope}.
   */
  public Tensor tensor() {
    try (NativeResource.Use use = use();
        CallScope scope = new CallScope()) {
      return scope.handOut(new Tensor(inForce()));
    }
  }

  /**
   * The values of one destination module, as a view {@code ([seq_len]) ([heads]) [n]} on {@link
   * #tensor}: inside a {@link TrainMaskMode} it is differentiable. Belongs to the caller's
   * innermost {@code PointerScope}.
   *
   * @throws IllegalArgumentException if no destination is at that hook point; suggests the nearest
   */
  public Tensor module(String moduleName) {
    DestModule module = graph.destModule(moduleName);
    try (NativeResource.Use use = use();
        CallScope scope = new CallScope()) {
      return scope.handOut(view(inForce(), module));
    }
  }

  /** The values of every destination module by its name, as {@link #module} gives them. */
  public Map<String, Tensor> modules() {
    try (NativeResource.Use use = use();
        CallScope scope = new CallScope()) {
      Map<String, Tensor> modules = new LinkedHashMap<>();
      for (DestModule module : graph.destModules()) {
        modules.put(module.moduleName(), view(inForce(), module));
      }
      scope.handOutAll(modules.values());
      return Collections.unmodifiableMap(modules);
    }
  }

  /** Whether gradients are wanted: inside a {@link TrainMaskMode}. */
  public boolean requiresGrad() {
    try (NativeResource.Use use = use()) {
      return wantsGrad();
    }
  }

  /** Whether these masks are being trained, which is when dropout acts. */
  public boolean isTraining() {
    try (NativeResource.Use use = use()) {
      return !trainings.isEmpty();
    }
  }

  /** Whether a backward pass has left gradients. */
  public boolean hasGradients() {
    try (NativeResource.Use use = use();
        CallScope scope = new CallScope()) {
      return leaf.grad().defined();
    }
  }

  /**
   * The gradients {@code [n_masks]}, summed over all backward passes since they were last zeroed.
   * Belongs to the caller's innermost {@code PointerScope}.
   *
   * @throws IllegalStateException if there are none
   */
  public Tensor gradients() {
    try (NativeResource.Use use = use();
        CallScope scope = new CallScope()) {
      return scope.handOut(definedGradients());
    }
  }

  /**
   * The gradients in the order of edge indices.
   *
   * @throws IllegalStateException if there are none
   */
  public double[] gradientArray() {
    try (NativeResource.Use use = use();
        CallScope scope = new CallScope()) {
      return TensorArrays.doubles(definedGradients());
    }
  }

  /** Forgets the gradients. */
  public void zeroGrad() {
    try (NativeResource.Use use = use();
        CallScope scope = new CallScope()) {
      leaf.mutable_grad().reset();
    }
  }

  /** Whether it was closed. */
  public boolean isClosed() {
    return resource.isClosed();
  }

  /** Gives the memory back. Does nothing the second time. May be called from any thread. */
  @Override
  public void close() {
    resource.close();
  }

  /** The size. */
  @Override
  public String toString() {
    return NAME + " of %,d edges".formatted(graph.maskSize());
  }

  /** Zeroes the gradients and begins training; what is returned ends it. */
  Runnable train(boolean wantsGrad) {
    zeroGrad();
    Training begun = new Training(wantsGrad);
    trainings.add(begun);
    return () -> trainings.remove(begun);
  }

  private boolean wantsGrad() {
    int size = trainings.size();
    return size > 0 && trainings.get(size - 1).wantsGrad;
  }

  private Tensor inForce() {
    return wantsGrad() ? leaf : values;
  }

  private NativeResource.Use use() {
    if (Thread.currentThread() != thread) {
      throw new IllegalStateException(
          ("%s belong to thread %s and were used on thread %s; use Masks, or"
                  + " PatchableModel.newMaskParameters() on each thread")
              .formatted(this, thread.getName(), Thread.currentThread().getName()));
    }
    return resource.use();
  }

  private Tensor definedGradients() {
    Tensor gradients = leaf.grad();
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

  /** A mode that trains these masks. No record: two that want the same are not the same. */
  private static final class Training {

    final boolean wantsGrad;

    Training(boolean wantsGrad) {
      this.wantsGrad = wantsGrad;
    }
  }

  private static Tensor view(Tensor flat, DestModule module) {
    return flat.narrow(0, module.offset(), module.size()).view(module.maskShape());
  }
}
