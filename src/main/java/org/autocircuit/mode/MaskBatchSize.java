package org.autocircuit.mode;

import org.autocircuit.internal.Numbers;
import org.autocircuit.internal.ScopeStack;
import org.autocircuit.patch.MaskParameters;

/**
 * While it is open, masks have values of their own for each example of a batch; the counterpart of
 * the Python original's {@code set_mask_batch_size}. Opened with {@code
 * PatchableModel.setMaskBatchSize}.
 *
 * <p><b>Entering</b> repeats the values in force: every example starts from them. <b>Inside</b>,
 * the masks are {@code [batch, n_masks]}, for whichever modes and contexts name them; so are their
 * gradients, and passes take batches of that size only. <b>Changing</b> the size is opening another
 * one inside, where example {@code i} starts from example {@code i % batch} of the outer one.
 * <b>Leaving</b> puts the values and gradients back that were there before. Those of the examples
 * are gone then, so read them before, for instance with {@code Masks.copyOf(model.masks())}, and go
 * backward before.
 *
 * <p>(In the original nothing leaves by itself, a second change of the size adds a dimension,
 * sigmoid masks fail, and the list of masks that algorithms read is not updated.)
 */
public final class MaskBatchSize implements ModelScope {

  private final ScopeStack.Scope scope;
  private final MaskParameters parameters;
  private final int batchSize;

  private MaskBatchSize(ScopeStack.Scope scope, MaskParameters parameters, int batchSize) {
    this.scope = scope;
    this.parameters = parameters;
    this.batchSize = batchSize;
  }

  /** Enters, with a scope that leaves the value in force as it is. */
  static <V> MaskBatchSize open(ScopeStack<V> stack, MaskParameters parameters, int batchSize) {
    Numbers.atLeast(1, "batchSize", batchSize);
    V unchanged = stack.current();
    Runnable leave = Modes.MASKS.enter(parameters, batchSize);
    return new MaskBatchSize(
        stack.openOrEnd("setMaskBatchSize", unchanged, leave), parameters, batchSize);
  }

  /** The masks that have values for each example. */
  public MaskParameters parameters() {
    return parameters;
  }

  /** The number of examples. */
  public int batchSize() {
    return batchSize;
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
