package org.autocircuit.internal;

import org.autocircuit.internal.jni.NativeLibrary;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Masks under training by LibTorch's Adam, which changes them where they are. */
public final class NativeMaskTraining implements AutoCloseable {

  private final long address;
  private final NativeResource resource;

  /**
   * Shares the memory of masks.
   *
   * @param masks of edges {@code [n_masks]}
   * @param nodeMasks {@code null}, or masks of nodes {@code [n_srcs]}, without which none of their
   *     edges is in the circuit
   */
  public NativeMaskTraining(Tensor masks, Tensor nodeMasks, double learningRate) {
    long made = NativeLibrary.newMaskTraining(masks, Patch.orUndefined(nodeMasks), learningRate);
    address = made;
    resource = new NativeResource("MaskTraining", () -> NativeLibrary.releaseMaskTraining(made));
  }

  /** Keeps it from being freed. */
  public NativeResource.Use use() {
    return resource.use();
  }

  /** The native training, to be used while {@link #use} is open. */
  public long address() {
    return address;
  }

  /** Makes a step along gradients that were computed elsewhere. */
  public void stepAlong(Tensor gradients) {
    try (NativeResource.Use use = use()) {
      NativeLibrary.stepMasksAlong(address, gradients);
    }
  }

  /** All that later steps depend on: masks and the optimiser's means, one after another. */
  public double[] state() {
    try (NativeResource.Use use = use();
        CallScope scope = new CallScope()) {
      return TensorArrays.doubles(NativeLibrary.maskTrainingState(address));
    }
  }

  /** Goes on from the {@link #state} that so many steps led to. */
  public void restore(double[] state, long steps) {
    try (NativeResource.Use use = use();
        CallScope scope = new CallScope()) {
      NativeLibrary.restoreMaskTraining(
          address, TensorArrays.of(state, ScalarType.Double, "cpu", 3, state.length / 3), steps);
    }
  }

  @Override
  public void close() {
    resource.close();
  }
}
