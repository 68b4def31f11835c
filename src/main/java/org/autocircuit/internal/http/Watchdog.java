package org.autocircuit.internal.http;

import java.time.Duration;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * The threads of a server, each of which may be inside the connection of its client for so long
 * only: whoever sends or takes bytes too slowly is cut off. An interrupt closes the connection in
 * which a thread waits; there is no gentler way to end a read.
 *
 * <p>They are platform threads: the tokenizer is native, and would pin virtual ones.
 */
public final class Watchdog implements Executor, AutoCloseable {

  private static final long LOOK_MILLIS = 100;

  private final long limitNanos;
  private final ThreadPoolExecutor threads;
  private final Thread looking;
  private final Map<Thread, Watch> watches = new ConcurrentHashMap<>();

  /** The time of one thread. */
  private final class Watch {
    private final Thread thread = Thread.currentThread();
    private long deadline;
    private boolean running;
    private boolean interrupted;

    synchronized void begin() {
      deadline = System.nanoTime() + limitNanos;
      running = true;
    }

    synchronized void end() {
      running = false;
      if (interrupted) {
        interrupted = false;
        Thread.interrupted();
      }
    }

    synchronized void look(long now) {
      if (running && !interrupted && now - deadline > 0) {
        interrupted = true;
        thread.interrupt();
      }
    }
  }

  /**
   * Starts watching.
   *
   * @param count the most threads; tasks beyond these wait
   * @param limit the longest time that a thread may be inside a connection
   */
  public Watchdog(int count, Duration limit) {
    limitNanos = limit.toNanos();
    threads =
        new ThreadPoolExecutor(
            count, count, 10, TimeUnit.SECONDS, new LinkedBlockingQueue<>(), daemons("serve"));
    threads.allowCoreThreadTimeOut(true);
    looking = daemons("serve-watchdog").newThread(this::look);
    looking.start();
  }

  private static ThreadFactory daemons(String name) {
    AtomicInteger count = new AtomicInteger();
    return task -> {
      Thread thread =
          new Thread(task, "autocircuit-%s-%s".formatted(name, count.incrementAndGet()));
      thread.setDaemon(true);
      return thread;
    };
  }

  private void look() {
    try {
      while (true) {
        TimeUnit.MILLISECONDS.sleep(LOOK_MILLIS);
        long now = System.nanoTime();
        watches.values().forEach(watch -> watch.look(now));
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt(); // closed
    }
  }

  /** Runs a task on one of the threads, whose time begins with it. */
  @Override
  public void execute(Runnable task) {
    threads.execute(
        () -> {
          Watch watch = new Watch();
          watches.put(Thread.currentThread(), watch);
          watch.begin();
          try {
            task.run();
          } finally {
            watch.end();
            watches.remove(Thread.currentThread());
          }
        });
  }

  /** Lets the thread that calls wait for something else than its client, as long as it likes. */
  public void pause() {
    watches.get(Thread.currentThread()).end();
  }

  /** Begins the time of the thread that calls once more. */
  public void resume() {
    watches.get(Thread.currentThread()).begin();
  }

  /** Interrupts all threads. */
  @Override
  public void close() {
    looking.interrupt();
    threads.shutdownNow();
  }
}
