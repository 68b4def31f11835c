package org.autocircuit.cli;

import java.io.IOException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** Runs commands that serve until the process is asked to end, and lets them end in order. */
final class UntilStopped {

  /** Read by the JDK when its server is first used: small pieces of answers do not wait. */
  private static final String NO_DELAY = "sun.net.httpserver.nodelay";

  private static final int PATIENCE_SECONDS = 10;

  /** A command that waits for the latch, and then ends. */
  interface Work {
    void run(CountDownLatch asked) throws IOException;
  }

  private UntilStopped() {}

  /**
   * Works, and asks the work to end when the process is asked to.
   *
   * @param name of the thread that waits for it meanwhile
   */
  static void run(String name, Work work) throws IOException {
    if (System.getProperty(NO_DELAY) == null) {
      System.setProperty(NO_DELAY, "true");
    }
    CountDownLatch asked = new CountDownLatch(1);
    CountDownLatch ended = new CountDownLatch(1);
    Thread hook = new Thread(() -> end(asked, ended), name);
    Runtime.getRuntime().addShutdownHook(hook);
    try {
      work.run(asked);
    } finally {
      ended.countDown();
      try {
        Runtime.getRuntime().removeShutdownHook(hook);
      } catch (IllegalStateException e) {
        // It runs: that is what ended this.
      }
    }
  }

  private static void end(CountDownLatch asked, CountDownLatch ended) {
    asked.countDown();
    try {
      ended.await(PATIENCE_SECONDS, TimeUnit.SECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
