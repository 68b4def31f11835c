package org.autocircuit.internal;

import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.autocircuit.internal.jni.NativeLibrary;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;

/** A native model. */
public final class ModelHandle implements AutoCloseable {

  private final long address;
  private final NativeResource resource;

  private ModelHandle(String name, long address) {
    this.address = address;
    resource = new NativeResource(name, () -> NativeLibrary.releaseModel(address));
  }

  /** A model that shares the given weights. */
  public static ModelHandle of(String name, String description, Map<String, Tensor> weights) {
    try (CallScope scope = new CallScope()) {
      String names = String.join("\n", weights.keySet());
      return new ModelHandle(
          name, NativeLibrary.newModel(description, names, vector(weights.values())));
    }
  }

  /** Lines of the name and the sizes of each weight that a model of a description has. */
  public static List<String> weightShapes(String description) {
    try (CallScope scope = new CallScope()) {
      return lines(NativeLibrary.weightShapes(description));
    }
  }

  /** Tensors read from a file, handed out; see {@code read_tensors}. */
  public static List<Tensor> readTensors(String path, long[] layout, int dtype, String device) {
    try (CallScope scope = new CallScope()) {
      return scope.handOutAll(
          tensors(NativeLibrary.readTensors(path, layout, layout.length, dtype, device)));
    }
  }

  /** Keeps the model from being freed. */
  public NativeResource.Use use() {
    return resource.use();
  }

  /** The same model on another device. */
  public ModelHandle to(String name, String device) {
    try (NativeResource.Use use = use()) {
      return new ModelHandle(name, NativeLibrary.modelTo(address, device));
    }
  }

  /** The weights themselves, handed out. */
  public Map<String, Tensor> weights() {
    try (NativeResource.Use use = use();
        CallScope scope = new CallScope()) {
      TensorVector tensors = NativeLibrary.modelWeights(address);
      Map<String, Tensor> weights = new LinkedHashMap<>();
      for (String name : lines(NativeLibrary.modelWeightNames(address))) {
        weights.put(name, new Tensor(tensors.get(weights.size())));
      }
      scope.handOutAll(weights.values());
      return Collections.unmodifiableMap(weights);
    }
  }

  /** Every hook point, in execution order. */
  public List<String> hookNames() {
    try (NativeResource.Use use = use()) {
      return lines(NativeLibrary.modelHookNames(address));
    }
  }

  /**
   * Makes a patchable model; native code keeps this one as long as that.
   *
   * @return its address, of which the caller takes charge
   */
  public long makePatchable(String modules, long[] wrappers, int seqLen) {
    try (NativeResource.Use use = use()) {
      return NativeLibrary.makeModelPatchable(address, modules, wrappers, wrappers.length, seqLen);
    }
  }

  /** Returns whether {@link #close} was called. */
  public boolean isClosed() {
    return resource.isClosed();
  }

  @Override
  public void close() {
    resource.close();
  }

  /** Splits what native code returned into its tensors, of the innermost scope. */
  public static List<Tensor> tensors(TensorVector results) {
    List<Tensor> tensors = new ArrayList<>();
    for (long i = 0; i < results.size(); i++) {
      tensors.add(new Tensor(results.get(i)));
    }
    return tensors;
  }

  private static TensorVector vector(Collection<Tensor> tensors) {
    TensorVector vector = new TensorVector();
    tensors.forEach(vector::push_back);
    return vector;
  }

  private static List<String> lines(String text) {
    return text.lines().toList();
  }
}
