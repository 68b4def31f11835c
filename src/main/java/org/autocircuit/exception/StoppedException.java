package org.autocircuit.exception;

import java.util.Optional;
import java.util.concurrent.CancellationException;

/**
 * A long call was stopped between two of its native steps, because its thread was interrupted or
 * the JVM is shutting down. Calls that look for that say so. To stop one, interrupt its thread
 * ({@code Future.cancel(true)}, {@code ExecutorService.shutdownNow()}); its interrupt status stays
 * set. When the JVM shuts down, it waits for calls that run, up to 30 seconds, and each ends after
 * the step that it is in.
 *
 * <p>Everything is as usable as before. What the call had done is in {@link #partial}, or in the
 * object that it was called on.
 */
public class StoppedException extends CancellationException {

  private final transient Object partial;

  /**
   * Called where a long call looks whether it shall end.
   *
   * @param message why it ends
   */
  public StoppedException(String message) {
    super(message);
    partial = null;
  }

  /**
   * Called by a call that has something to hand out.
   *
   * @param stop what ended it
   * @param partial what is done
   */
  public <T> StoppedException(StoppedException stop, T partial) {
    super(stop.getMessage());
    initCause(stop);
    this.partial = partial;
  }

  /**
   * Returns what the call would have returned if its work had ended there; the call says what that
   * means.
   *
   * @return empty if there is nothing of this type
   */
  public <T> Optional<T> partial(Class<T> type) {
    return type.isInstance(partial) ? Optional.of(type.cast(partial)) : Optional.empty();
  }
}
