package org.autocircuit.internal;

import org.autocircuit.internal.jni.NativeLibrary;

/**
 * Caches what passes that are patched with the same source activations have in common; belongs to
 * those activations. Any number of threads may share one.
 */
public final class FullyPatchedCache implements AutoCloseable {

  private final long address;
  private final NativeResource resource;

  /** An empty one. */
  public FullyPatchedCache() {
    long made = NativeLibrary.newFullyPatchedCache();
    address = made;
    resource =
        new NativeResource("SourceActivations", () -> NativeLibrary.releaseFullyPatchedCache(made));
  }

  private NativeResource.Use use() {
    return resource.use();
  }

  /** Valid until this is closed. */
  public long address() {
    return address;
  }

  /** Gives back what passes have left; the next one that needs it makes it once more. */
  public void clear() {
    try (NativeResource.Use use = use()) {
      NativeLibrary.clearFullyPatchedCache(address);
    }
  }

  @Override
  public void close() {
    resource.close();
  }
}
