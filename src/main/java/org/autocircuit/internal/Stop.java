package org.autocircuit.internal;

import java.util.function.Supplier;
import org.autocircuit.StoppedException;

/** Where long calls look, between native steps, whether they shall end. */
public final class Stop {

  private Stop() {}

  /**
   * Returns if the call shall go on.
   *
   * @throws StoppedException if it shall end and has nothing to hand out
   */
  public static void check() {
    check(() -> null);
  }

  /**
   * Returns if the call shall go on.
   *
   * @param partial makes what is done so far; {@code null}: nothing
   * @throws StoppedException if it shall end
   */
  public static void check(Supplier<?> partial) {
    if (Thread.currentThread().isInterrupted()) {
      throw new StoppedException("stopped: the thread was interrupted", partial.get());
    }
    if (ShutdownGuard.isEnding()) {
      throw new StoppedException("stopped: the JVM is shutting down", partial.get());
    }
  }
}
