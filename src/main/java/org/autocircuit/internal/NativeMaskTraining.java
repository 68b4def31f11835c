package org.autocircuit.internal;

import org.autocircuit.internal.jni.NativeLibrary;
import org.bytedeco.pytorch.Tensor;

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

  @Override
  public void close() {
    resource.close();
  }
}
