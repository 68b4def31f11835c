package org.autocircuit.internal;

import org.autocircuit.internal.jni.NativeLibrary;
import org.bytedeco.pytorch.Tensor;

/**
 * The native side of masks that never change: their tensor, and what passes plan from it. Any
 * number of threads may share one. Nobody closes it: it is freed when it is no longer reachable.
 */
public final class NativeMasks {

  private final long plans;
  private final NativeResource resource;

  /** Shares a tensor that nobody writes into. */
  public NativeMasks(Tensor masks) {
    long made = NativeLibrary.newMaskPlans(masks);
    plans = made;
    resource = NativeResource.collected("Masks", () -> NativeLibrary.releaseMaskPlans(made));
  }

  /** Keeps the masks from being freed. */
  public NativeResource.Use use() {
    return resource.use();
  }

  /** The masks, of the innermost scope; to be asked for while {@link #use} is open. */
  public Tensor tensor() {
    return NativeLibrary.maskPlansTensor(plans);
  }

  /** The address of the plans, to be used while {@link #use} is open. */
  public long plans() {
    return plans;
  }
}
