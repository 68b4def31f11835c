package org.autocircuit.internal;

import org.autocircuit.internal.jni.NativeLibrary;

/**
 * The keys and values of one sequence that steps add tokens to. One step at a time works on it;
 * other steps that try are refused.
 */
public final class NativeSequence implements AutoCloseable {

  private final long address;
  private final NativeResource resource;

  /** Takes charge of a native sequence. */
  public NativeSequence(long address) {
    this.address = address;
    resource = new NativeResource("Sequence", () -> NativeLibrary.releaseSequence(address));
  }

  /** A sequence with the first so many tokens of this one, and room for others. */
  public NativeSequence fork(int length, int capacity) {
    try (NativeResource.Use use = use()) {
      return new NativeSequence(NativeLibrary.forkSequence(address, length, capacity));
    }
  }

  /** Keeps the sequence from being freed. */
  public NativeResource.Use use() {
    return resource.use();
  }

  /** The native sequence, for calls within a {@link #use}. */
  public long address() {
    return address;
  }

  @Override
  public void close() {
    resource.close();
  }
}
