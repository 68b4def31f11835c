package org.autocircuit.mode;

import org.autocircuit.internal.ScopeStack;
import org.autocircuit.patch.MaskFn;

/**
 * While it is open, a function is applied to the mask values of the thread's patched passes; the
 * counterpart of the Python original's {@code mask_fn_mode}. Opened with {@code
 * PatchableModel.maskFnMode}.
 */
public final class MaskFnMode implements ModelScope {

  private final ScopeStack.Scope scope;
  private final MaskFn maskFn;
  private final double dropout;

  MaskFnMode(ScopeStack.Scope scope, MaskFn maskFn, double dropout) {
    this.scope = scope;
    this.maskFn = maskFn;
    this.dropout = dropout;
  }

  /** Returns what is applied to the mask values. */
  public MaskFn maskFn() {
    return maskFn;
  }

  /** Probability of dropping a mask value while the masks are being trained. */
  public double dropout() {
    return dropout;
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
