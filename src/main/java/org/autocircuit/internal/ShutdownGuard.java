package org.autocircuit.internal;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Lets calls of native code finish before the JVM ends. What LibTorch keeps for the process is gone
 * as soon as the process begins to exit, and a thread that still computes with it crashes.
 */
final class ShutdownGuard {

  private static final Logger LOG = System.getLogger("org.autocircuit.native");
  private static final Duration PATIENCE = Duration.ofSeconds(30);
  private static final Duration PAUSE = Duration.ofMillis(2);

  private static final AtomicInteger CALLS = new AtomicInteger();
  private static volatile boolean ending;

  static {
    try {
      Runtime.getRuntime()
          .addShutdownHook(new Thread(ShutdownGuard::awaitCalls, "autocircuit-shutdown"));
    } catch (IllegalStateException shuttingDown) {
      ending = true;
    }
  }

  private ShutdownGuard() {}

  /**
   * Counts a call until {@link #leave}.
   *
   * @throws IllegalStateException if the JVM is shutting down
   */
  static void enter() {
    CALLS.incrementAndGet();
    if (ending) {
      leave();
      throw new IllegalStateException("the JVM is shutting down");
    }
  }

  static void leave() {
    CALLS.decrementAndGet();
  }

  private static void awaitCalls() {
    ending = true;
    long end = System.nanoTime() + PATIENCE.toNanos();
    while (CALLS.get() > 0 && System.nanoTime() < end) {
      try {
        Thread.sleep(PAUSE.toMillis());
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        return;
      }
    }
    if (CALLS.get() > 0) {
      LOG.log(Level.WARNING, "the JVM ends while native code still runs, which may crash it");
    }
  }
}
