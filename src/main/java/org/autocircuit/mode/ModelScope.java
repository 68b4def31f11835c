package org.autocircuit.mode;

/**
 * A mode of one model on one thread, in force until it is closed; the counterpart of the Python
 * original's context managers. Use it in a try-with-resources statement:
 *
 * <pre>{@code
 * try (PatchMode patching = model.patchMode(activations, edges)) {
 *   Tensor logits = model.forward(tokens);
 * }
 * }</pre>
 *
 * <p>Modes of different kinds combine. A mode of the same kind shadows the one around it, which is
 * back in force when the inner one is closed. (In the original, leaving an inner mode switches the
 * outer one off, too.)
 *
 * <p>Only the thread that opened a mode feels it and may close it. If a mode is closed before those
 * opened inside it, these are closed first, then it, and an {@link
 * org.autocircuit.exception.ScopeOrderException} says so. A mode that was dropped without being
 * closed is logged with the stack that opened it, and refused at the thread's next use of the
 * model.
 */
public sealed interface ModelScope extends AutoCloseable
    permits PatchMode, MaskFnMode, TrainMaskMode, MaskBatchSize {

  /** Returns whether the mode was not closed yet. */
  boolean isOpen();

  /**
   * Ends the mode. Does nothing the second time.
   *
   * @throws org.autocircuit.exception.ScopeOrderException if modes opened inside this one were
   *     still open; all are closed now
   * @throws IllegalStateException on another thread than the one that opened it; nothing changes
   */
  @Override
  void close();
}
