package org.autocircuit.mode;

import org.autocircuit.internal.ScopeStack;
import org.autocircuit.patch.MaskValues;
import org.autocircuit.patch.SourceActivations;

/**
 * While it is open, the thread's forward passes are patched; the counterpart of the Python
 * original's {@code patch_mode}. Opened with {@code PatchableModel.patchMode}.
 */
public final class PatchMode implements ModelScope {

  private static final String NAME = "patchMode";

  private final ScopeStack.Scope scope;
  private final SourceActivations activations;
  private final MaskValues masks;

  private PatchMode(ScopeStack.Scope scope, SourceActivations activations, MaskValues masks) {
    this.scope = scope;
    this.activations = activations;
    this.masks = masks;
  }

  /** Opens a scope that puts a value in force. */
  static <V> PatchMode open(
      ScopeStack<V> stack, V value, SourceActivations activations, MaskValues masks) {
    return new PatchMode(stack.open(NAME, value, () -> {}), activations, masks);
  }

  /** Returns what sources are patched with. */
  public SourceActivations activations() {
    return activations;
  }

  /** Returns how much each edge is patched. */
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
