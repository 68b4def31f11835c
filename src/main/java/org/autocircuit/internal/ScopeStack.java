package org.autocircuit.internal;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.lang.ref.Cleaner;
import java.lang.ref.Reference;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.function.Supplier;
import org.autocircuit.exception.ScopeOrderException;

/**
 * The open scopes of one owner (a model), a stack for each thread. A scope gives its thread a
 * value, the topmost scope's being in force.
 *
 * <p>What a user holds is a {@link Scope}, what the stack holds is its frame. So a scope that was
 * dropped without closing becomes unreachable, which is how it is noticed: it is logged with the
 * stack that opened it, and the thread's next use of this stack closes it and throws. Until the
 * collector has seen it, it stays in force. Scopes of a thread that ended without closing them are
 * logged and closed when another thread opens its first one, or lists or ends them all.
 *
 * @param <V> the values, immutable
 */
public final class ScopeStack<V> {

  private static final Logger LOG = System.getLogger("org.autocircuit.scopes");
  private static final Cleaner DROPPED = Cleaner.create();

  private final String owner;
  private final V outside;

  /** The topmost frame of each thread that has one; a thread touches its own entry only. */
  private final ConcurrentMap<Thread, Frame<V>> top = new ConcurrentHashMap<>();

  /**
   * A stack without scopes.
   *
   * @param owner what messages call the owner
   * @param outside the value where no scope is open
   */
  public ScopeStack(String owner, V outside) {
    this.owner = owner;
    this.outside = outside;
  }

  /**
   * The value in force on this thread.
   *
   * @throws IllegalStateException if a scope of this thread was dropped without being closed
   */
  public V current() {
    Frame<V> frame = top.get(Thread.currentThread());
    if (frame == null) {
      return outside;
    }
    refuseDropped(frame);
    return frame.value;
  }

  /**
   * Opens a scope on this thread. What can fail should be done before, so that a failure leaves no
   * scope behind.
   *
   * @param name what messages call the scope
   * @param value the value in force until the scope or one inside it is closed or opened
   * @param onClose what closing does besides; must not refer to what the user holds
   */
  public Scope open(String name, V value, Runnable onClose) {
    Frame<V> below = top.get(Thread.currentThread());
    if (below == null) {
      closeThoseOfEndedThreads();
    } else {
      refuseDropped(below);
    }
    Frame<V> frame = new Frame<>(name + " of " + owner, value, below, onClose);
    Scope scope = new Scope(() -> close(frame), () -> !frame.closed);
    DROPPED.register(scope, () -> report(frame));
    top.put(frame.thread, frame);
    return scope;
  }

  /** As {@link #open}, of something that has begun already: if it fails, it ends it. */
  public Scope openOrEnd(String name, V value, Runnable onClose) {
    try {
      return open(name, value, onClose);
    } catch (RuntimeException e) {
      onClose.run();
      throw e;
    }
  }

  /**
   * Scopes that are open on any thread: name, thread, and as the cause the stack that opened it.
   */
  public List<IllegalStateException> describeOpen() {
    closeThoseOfEndedThreads();
    List<IllegalStateException> all = new ArrayList<>();
    for (Frame<V> innermost : top.values()) {
      for (Frame<V> frame = innermost; frame != null; frame = frame.below) {
        all.add(
            new IllegalStateException(
                "%s is open on thread %s".formatted(frame.name, frame.thread.getName()),
                frame.openedAt));
      }
    }
    return all;
  }

  /**
   * The end of the owner: closes this thread's scopes and logs those of other threads, which are
   * theirs to close.
   *
   * @throws ScopeOrderException if this thread had open scopes
   */
  public void closeAll() {
    Frame<V> innermost = top.get(Thread.currentThread());
    Frame<V> frame = innermost;
    while (frame != null) {
      pop(frame);
      frame = frame.below;
    }
    for (IllegalStateException other : describeOpen()) {
      LOG.log(
          Level.WARNING,
          "%s was closed, but %s".formatted(owner, other.getMessage()),
          other.getCause());
    }
    if (innermost != null) {
      throw new ScopeOrderException(
          "%s was closed while %s was still open; both are closed now"
              .formatted(owner, innermost.name),
          innermost.openedAt);
    }
  }

  private void close(Frame<V> frame) {
    if (frame.closed) {
      return;
    }
    if (Thread.currentThread() != frame.thread) {
      throw new IllegalStateException(
          "%s was opened on thread %s and can only be closed there, not on thread %s"
              .formatted(frame.name, frame.thread.getName(), Thread.currentThread().getName()));
    }
    Frame<V> innermost = unwind(frame);
    if (innermost != frame) {
      throw new ScopeOrderException(
          "%s was closed while %s, opened inside it, was still open; both are closed now"
              .formatted(frame.name, innermost.name),
          innermost.openedAt);
    }
  }

  /** Closes the scopes inside a frame and then the frame; returns the one that was on top. */
  private Frame<V> unwind(Frame<V> frame) {
    Frame<V> innermost = top.get(Thread.currentThread());
    Frame<V> next = innermost;
    while (next != frame) {
      pop(next);
      next = next.below;
    }
    pop(frame);
    return innermost;
  }

  /** Nobody else can: a scope is its thread's. What its closing touches is that thread's, too. */
  private void closeThoseOfEndedThreads() {
    for (Thread thread : top.keySet()) {
      // Of two that come here at once, one gets the frames.
      Frame<V> innermost = thread.isAlive() ? null : top.remove(thread);
      for (Frame<V> frame = innermost; frame != null; frame = frame.below) {
        frame.closed = true;
        LOG.log(
            Level.WARNING,
            "thread %s ended without closing %s; it is closed now"
                .formatted(thread.getName(), frame.name),
            frame.openedAt);
        frame.onClose.run();
      }
    }
  }

  private void pop(Frame<V> frame) {
    frame.closed = true;
    if (frame.below == null) {
      top.remove(frame.thread);
    } else {
      top.put(frame.thread, frame.below);
    }
    frame.onClose.run();
  }

  private void refuseDropped(Frame<V> innermost) {
    for (Frame<V> frame = innermost; frame != null; frame = frame.below) {
      if (frame.dropped) {
        unwind(frame);
        throw new IllegalStateException(
            "%s was opened on thread %s and never closed; it is closed now"
                .formatted(frame.name, frame.thread.getName()),
            frame.openedAt);
      }
    }
  }

  private static void report(Frame<?> frame) {
    if (!frame.closed) {
      frame.dropped = true;
      LOG.log(
          Level.WARNING,
          "%s was opened on thread %s and never closed"
              .formatted(frame.name, frame.thread.getName()),
          frame.openedAt);
    }
  }

  /** Says what the user holds. */
  public static final class Scope implements AutoCloseable {

    private final Runnable close;
    private final Supplier<Boolean> isOpen;

    private Scope(Runnable close, Supplier<Boolean> isOpen) {
      this.close = close;
      this.isOpen = isOpen;
    }

    /** Returns whether it has not been closed, neither by itself nor with a scope around it. */
    public boolean isOpen() {
      return isOpen.get();
    }

    @Override
    public void close() {
      try {
        close.run();
      } finally {
        Reference.reachabilityFence(this);
      }
    }
  }

  private static final class Frame<V> {

    final String name;
    final V value;
    final Frame<V> below;
    final Runnable onClose;
    final Thread thread = Thread.currentThread();
    final Throwable openedAt;
    volatile boolean closed;
    volatile boolean dropped;

    Frame(String name, V value, Frame<V> below, Runnable onClose) {
      this.name = name;
      this.value = value;
      this.below = below;
      this.onClose = onClose;
      this.openedAt = new Throwable(name + " was opened here");
    }
  }
}
