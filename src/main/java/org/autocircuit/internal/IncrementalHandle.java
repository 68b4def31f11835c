package org.autocircuit.internal;

import org.autocircuit.internal.jni.NativeLibrary;
import org.bytedeco.pytorch.Tensor;

/** A native run that is the baseline of others. */
public final class IncrementalHandle implements AutoCloseable {

  private static final long[] NOWHERE = {};

  private final long address;
  private final NativeResource resource;

  /** Takes charge of a native run. */
  public IncrementalHandle(long address) {
    this.address = address;
    resource =
        new NativeResource("IncrementalRun", () -> NativeLibrary.releaseIncrementalRun(address));
  }

  /** Logits of the run itself; handed out. */
  public Tensor logits() {
    return logits(NOWHERE, -1, 0);
  }

  /** Logits where masks at some places have one value; handed out. */
  public Tensor logits(long[] places, double value) {
    return logits(places, places.length, value);
  }

  private Tensor logits(long[] places, int size, double value) {
    try (NativeResource.Use use = resource.use();
        CallScope scope = new CallScope()) {
      return scope.handOut(NativeLibrary.incrementalLogits(address, places, size, value));
    }
  }

  /** Makes the run of the last places the new baseline. */
  public void commit() {
    try (NativeResource.Use use = resource.use()) {
      NativeLibrary.commitIncremental(address);
    }
  }

  @Override
  public void close() {
    resource.close();
  }
}
