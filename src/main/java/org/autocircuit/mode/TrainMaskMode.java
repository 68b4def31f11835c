package org.autocircuit.mode;

import org.autocircuit.internal.ScopeStack;
import org.autocircuit.patch.MaskParameters;

/**
 * While it is open, masks are trained: they require gradients, and dropout acts on them; the
 * counterpart of the Python original's {@code train_mask_mode}. Entering it forgets earlier
 * gradients, leaving it keeps them. One that is opened while the same masks are being trained
 * already begins without gradients, too, but leaving it puts those of the outer one back, so read
 * its own before. (In the original they are lost.) Opened with {@code
 * PatchableModel.trainMaskMode}.
 */
public final class TrainMaskMode implements ModelScope {

  private final ScopeStack.Scope scope;
  private final MaskParameters parameters;

  private TrainMaskMode(ScopeStack.Scope scope, MaskParameters parameters) {
    this.scope = scope;
    this.parameters = parameters;
  }

  /** Begins training, with a scope that leaves the value in force as it is. */
  static <V> TrainMaskMode open(
      ScopeStack<V> stack, MaskParameters parameters, boolean requiresGrad) {
    V unchanged = stack.current();
    Runnable end = Modes.MASKS.train(parameters, requiresGrad);
    return new TrainMaskMode(stack.openOrEnd("trainMaskMode", unchanged, end), parameters);
  }

  /** The masks that are trained, with their gradients. */
  public MaskParameters parameters() {
    return parameters;
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
