package org.autocircuit.internal;

import java.lang.ref.Cleaner;
import java.lang.ref.Reference;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Something native that is freed exactly once, when it is closed and no call uses it any more.
 * Calls only count; none waits for another. A call that has begun to use it may do so again on its
 * thread after it was closed, so one use around several steps lets all of them finish.
 *
 * <p>If the owner forgets it, the garbage collector frees it, unless JavaCPP's own collector is
 * switched off ({@code org.bytedeco.javacpp.noPointerGC}): then forgotten things leak, on purpose.
 * The garbage collector {@linkplain #collected always frees} what belongs to plain values.
 */
public final class NativeResource implements AutoCloseable {

  /** Keeps a resource from being freed until it is closed, on the thread that began it. */
  public interface Use extends AutoCloseable {
    @Override
    void close();
  }

  private static final Cleaner CLEANER = Cleaner.create();
  private static final boolean NET = !Boolean.getBoolean("org.bytedeco.javacpp.noPointerGC");

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
    this(name, free, NET);
  }

  private NativeResource(String name, Runnable free, boolean collected) {
    this.name = name;
    Count counted = new Count(free);
    count = counted;
    use = counted::leave;
    ShutdownGuard.opened();
    if (collected) {
      CLEANER.register(this, count::close);
    }
  }

  /** Takes charge of something that is never closed: the garbage collector frees it. */
  static NativeResource collected(String name, Runnable free) {
    return new NativeResource(name, free, true);
  }

  /**
   * Begins a use, which must be closed on this thread.
   *
   * @throws IllegalStateException if this thread does not use it already and it is closed, or the
   *     JVM is shutting down
   */
  public Use use() {
    ShutdownGuard.enter();
    if (!count.enter()) {
      ShutdownGuard.leave();
      throw closed();
    }
    return use;
  }

  /**
   * Refuses what {@link #use} would refuse because of the resource.
   *
   * @throws IllegalStateException if it is closed, and this thread does not use it
   */
  public void requireUsable() {
    if (isClosed() && !Held.contains(count)) {
      throw closed();
    }
  }

  private IllegalStateException closed() {
    return new IllegalStateException(name + " is closed");
  }

  /** Returns whether {@link #close} was called. */
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

  /**
   * The number of threads that use it, and in the sign whether closed. Apart, so that the net can
   * hold it.
   */
  private static final class Count {

    private static final int CLOSED = Integer.MIN_VALUE;

    private final AtomicInteger state = new AtomicInteger();
    private final Runnable free;

    Count(Runnable free) {
      this.free = free;
    }

    boolean enter() {
      if (!Held.add(this)) {
        return true;
      }
      int seen = state.get();
      while (seen >= 0) {
        if (state.compareAndSet(seen, seen + 1)) {
          return true;
        }
        seen = state.get();
      }
      Held.remove(this);
      return false;
    }

    void leave() {
      try {
        if (Held.remove(this) && state.decrementAndGet() == CLOSED) {
          free();
        }
      } finally {
        ShutdownGuard.leave();
      }
    }

    boolean close() {
      int seen = state.getAndUpdate(uses -> uses | CLOSED);
      if (seen == 0) {
        free();
      }
      return seen >= 0;
    }

    boolean isClosed() {
      return state.get() < 0;
    }

    private void free() {
      try {
        free.run();
      } finally {
        ShutdownGuard.freed();
      }
    }
  }
}
