package org.autocircuit.internal;

import org.autocircuit.internal.jni.NativeLibrary;
import org.bytedeco.pytorch.Tensor;

/**
 * The native side of masks that never change: their tensor, and what passes plan from it. Any
 * number of threads may share one. Nobody closes it: it is freed when it is no longer reachable.
 */
public final class NativeMasks {

  private final Tensor tensor;
  private final long plans;
  private final NativeResource resource;

  /** Takes charge of a tensor that nobody writes into. */
  public NativeMasks(Tensor masks) {
    try (CallScope scope = new CallScope()) {
      Tensor kept = scope.keep(new Tensor(masks));
      long made = NativeLibrary.newMaskPlans();
      tensor = kept;
      plans = made;
      resource =
          NativeResource.collected(
              "Masks",
              () -> {
                NativeLibrary.releaseMaskPlans(made);
                kept.releaseReference();
              });
    }
  }

  NativeResource.Use use() {
    return resource.use();
  }

  /** To be used while {@link #use} is open. */
  Tensor tensor() {
    return tensor;
  }

  long plans() {
    return plans;
  }
}
