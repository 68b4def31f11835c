package org.autocircuit.internal;

import java.lang.ref.Cleaner;
import java.lang.ref.Reference;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Something native that is freed exactly once, when it is closed and no call uses it any more.
 * Calls only count; none waits for another.
 *
 * <p>If the owner forgets it, the garbage collector frees it, unless JavaCPP's own collector is
 * switched off ({@code org.bytedeco.javacpp.noPointerGC}): then forgotten things leak, on purpose.
 */
public final class NativeResource implements AutoCloseable {

  /** Keeps a resource from being freed until it is closed. */
  public interface Use extends AutoCloseable {
    @Override
    void close();
  }

  private static final Cleaner NET =
      Boolean.getBoolean("org.bytedeco.javacpp.noPointerGC") ? null : Cleaner.create();

  private final String name;
  private final Count count;
  private final Use use;

  /**
   * Takes charge of something native.
   *
   * @param name what messages call it
   * @param free frees it; must not refer to this object or its owner
   */
  public NativeResource(String name, Runnable free) {
    this.name = name;
    Count counted = new Count(free);
    count = counted;
    use =
        () -> {
          counted.leave();
          ShutdownGuard.leave();
        };
    if (NET != null) {
      NET.register(this, count::close);
    }
  }

  /**
   * Begins a use, which must be closed.
   *
   * @throws IllegalStateException if the resource is closed, or the JVM is shutting down
   */
  public Use use() {
    ShutdownGuard.enter();
    if (!count.enter()) {
      ShutdownGuard.leave();
      throw new IllegalStateException(name + " is closed");
    }
    return use;
  }

  /** Whether {@link #close} was called. */
  public boolean isClosed() {
    return count.isClosed();
  }

  /** Refuses new uses; the last one that runs frees the resource. Does nothing the second time. */
  @Override
  public void close() {
    closeFirst();
  }

  /** Closes, and tells whether it was open before. */
  public boolean closeFirst() {
    try {
      return count.close();
    } finally {
      Reference.reachabilityFence(this);
    }
  }

  @Override
  public String toString() {
    return name;
  }

  /** The number of uses, and in the sign whether closed. Apart, so that the net can hold it. */
  private static final class Count {

    private static final int CLOSED = Integer.MIN_VALUE;

    private final AtomicInteger state = new AtomicInteger();
    private final Runnable free;

    Count(Runnable free) {
      this.free = free;
    }

    boolean enter() {
      int seen = state.get();
      while (seen >= 0) {
        if (state.compareAndSet(seen, seen + 1)) {
          return true;
        }
        seen = state.get();
      }
      return false;
    }

    void leave() {
      if (state.decrementAndGet() == CLOSED) {
        free.run();
      }
    }

    boolean close() {
      int seen = state.getAndUpdate(uses -> uses | CLOSED);
      if (seen == 0) {
        free.run();
      }
      return seen >= 0;
    }

    boolean isClosed() {
      return state.get() < 0;
    }
  }
}
