package org.autocircuit.internal;

import org.autocircuit.internal.jni.NativeLibrary;

/**
 * The mask values of a request that generates, the same at each of its steps, and what steps make
 * of them. Any number of threads may share one.
 */
public final class NativeStepMasks implements AutoCloseable {

  private final long address;
  private final NativeResource resource;

  /** Takes charge of native masks. */
  public NativeStepMasks(long address) {
    this.address = address;
    resource = new NativeResource("StepMasks", () -> NativeLibrary.releaseStepMasks(address));
  }

  /** Keeps the masks from being freed. */
  public NativeResource.Use use() {
    return resource.use();
  }

  /** The native masks, for calls within a {@link #use}. */
  public long address() {
    return address;
  }

  @Override
  public void close() {
    resource.close();
  }
}
