package org.autocircuit.internal;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.Arrays;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.autocircuit.exception.StoppedException;

/**
 * Lets calls of native code finish before the JVM ends. What LibTorch keeps for the process is gone
 * as soon as the process begins to exit, and a thread that still computes with it crashes.
 *
 * <p>The hook that waits is there while something native is open or a call runs: it would keep the
 * class loader of an application that has closed everything.
 */
final class ShutdownGuard {

  private static final Logger LOG = System.getLogger("org.autocircuit.native");
  private static final Duration PATIENCE = Duration.ofSeconds(30);
  private static final Duration PAUSE = Duration.ofMillis(2);

  /** Threads that are inside a call. */
  private static final Set<Thread> CALLING = ConcurrentHashMap.newKeySet();

  /** Number of calls that run and of native things that are open. */
  private static final AtomicInteger REASONS = new AtomicInteger();

  private static final Thread HOOK =
      new Thread(null, ShutdownGuard::awaitCalls, "autocircuit-shutdown", 0, false);

  private static boolean hooked;
  private static volatile boolean ending;

  private ShutdownGuard() {}

  /**
   * Begins a call, which {@link #leave} ends on the same thread. Calls inside it are part of it.
   *
   * @throws StoppedException if the JVM is shutting down and this is no part of another call
   */
  static void enter() {
    if (enterToFree() && ending) {
      leave();
      throw new StoppedException("stopped: the JVM is shutting down");
    }
  }

  /** As {@link #enter}, also while the JVM is shutting down; tells whether it is no part. */
  static boolean enterToFree() {
    boolean outermost = Held.add(ShutdownGuard.class);
    if (outermost) {
      CALLING.add(Thread.currentThread());
      opened();
    }
    return outermost;
  }

  static void leave() {
    if (Held.remove(ShutdownGuard.class)) {
      CALLING.remove(Thread.currentThread());
      freed();
    }
  }

  /** Counts something native that is open, until {@link #freed}. */
  static void opened() {
    if (REASONS.getAndIncrement() == 0) {
      hookIfNeeded();
    }
  }

  static void freed() {
    if (REASONS.decrementAndGet() == 0) {
      hookIfNeeded();
    }
  }

  /** Returns whether the JVM is shutting down. */
  static boolean isEnding() {
    return ending;
  }

  private static synchronized void hookIfNeeded() {
    boolean needed = REASONS.get() > 0;
    try {
      if (needed && !hooked) {
        Runtime.getRuntime().addShutdownHook(HOOK);
      } else if (!needed && hooked) {
        Runtime.getRuntime().removeShutdownHook(HOOK);
      }
      hooked = needed;
    } catch (IllegalStateException shuttingDown) {
      ending = true;
    }
  }

  private static void awaitCalls() {
    ending = true;
    long end = System.nanoTime() + PATIENCE.toNanos();
    while (isAnyCalling() && System.nanoTime() < end) {
      try {
        Thread.sleep(PAUSE.toMillis());
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        return;
      }
    }
    if (isAnyCalling()) {
      LOG.log(Level.WARNING, "the JVM ends while native code still runs, which may crash it");
    }
  }

  private static boolean isAnyCalling() {
    return CALLING.stream().anyMatch(thread -> !isExiting(thread));
  }

  /**
   * Returns whether what a call told of its progress has called {@code System.exit}, which never
   * returns.
   */
  private static boolean isExiting(Thread thread) {
    return Arrays.stream(thread.getStackTrace())
        .anyMatch(frame -> frame.getClassName().equals("java.lang.Shutdown"));
  }
}
