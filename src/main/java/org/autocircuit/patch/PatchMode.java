package org.autocircuit.patch;

import org.autocircuit.internal.ScopeStack;

/**
 * While it is open, the thread's forward passes are patched; the counterpart of the Python
 * original's {@code patch_mode}. Opened with {@code PatchableModel.patchMode}.
 */
public final class PatchMode implements ModelScope {

  private final ScopeStack.Scope scope;
  private final SourceActivations activations;
  private final MaskValues masks;

  /** For the library, which opens the scope. */
  public PatchMode(ScopeStack.Scope scope, SourceActivations activations, MaskValues masks) {
    this.scope = scope;
    this.activations = activations;
    this.masks = masks;
  }

  /** What sources are patched with. */
  public SourceActivations activations() {
    return activations;
  }

  /** How much each edge is patched. */
  public MaskValues masks() {
    return masks;
  }

  @Override
  public boolean isOpen() {
    return scope.isOpen();
  }

  @Override
  public void close() {
    scope.close();
  }
}
