package org.autocircuit.internal;

import org.autocircuit.exception.StoppedException;

/** Says where long calls look, between native steps, whether they shall end. */
public final class Stop {

  private Stop() {}

  /**
   * Returns if the call shall go on.
   *
   * @throws StoppedException if it shall end
   */
  public static void check() {
    if (Thread.currentThread().isInterrupted()) {
      throw new StoppedException("stopped: the thread was interrupted");
    }
    if (ShutdownGuard.isEnding()) {
      throw new StoppedException("stopped: the JVM is shutting down");
    }
  }
}
