package org.autocircuit.generate;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Predicate;
import org.autocircuit.exception.QueueFullException;

/** Requests that wait, in the order in which they came. Any thread may use it. */
final class RequestQueue {

  private final int limit;
  private final ReentrantLock lock = new ReentrantLock();
  private final Condition changed = lock.newCondition();
  private final Deque<Generation> waiting = new ArrayDeque<>();
  private int reserved;
  private boolean awake;
  private boolean closed;

  RequestQueue(int limit) {
    this.limit = limit;
  }

  /** The most requests that wait. */
  int limit() {
    return limit;
  }

  /**
   * Keeps places for requests that are added next.
   *
   * @throws QueueFullException if there are not so many
   * @throws IllegalStateException if it was closed
   */
  void reserve(int places) {
    lock.lock();
    try {
      requireOpen();
      int taken = waiting.size() + reserved;
      if (taken + places > limit) {
        throw new QueueFullException(
            taken >= limit
                ? "%s requests wait, as many as may".formatted(limit)
                : "%s requests wait, of at most %s, and %s come".formatted(taken, limit, places));
      }
      reserved += places;
    } finally {
      lock.unlock();
    }
  }

  private void requireOpen() {
    if (closed) {
      throw new IllegalStateException("the generator is closed");
    }
  }

  /**
   * Puts requests, for which places are kept, at the end: all before any of them can begin.
   *
   * @throws IllegalStateException if it was closed
   */
  void add(List<Generation> generations) {
    lock.lock();
    try {
      reserved -= generations.size();
      requireOpen();
      waiting.addAll(generations);
      awake = true;
      changed.signal();
    } finally {
      lock.unlock();
    }
  }

  /** Takes a request out, and tells whether it was there. */
  boolean remove(Generation generation) {
    lock.lock();
    try {
      return waiting.remove(generation);
    } finally {
      lock.unlock();
    }
  }

  /** The first one, which stays. */
  Generation first() {
    lock.lock();
    try {
      return waiting.peek();
    } finally {
      lock.unlock();
    }
  }

  /** Takes all out of which something holds. */
  List<Generation> removeIf(Predicate<Generation> test) {
    List<Generation> removed = new ArrayList<>();
    lock.lock();
    try {
      for (Iterator<Generation> each = waiting.iterator(); each.hasNext(); ) {
        Generation generation = each.next();
        if (test.test(generation)) {
          each.remove();
          removed.add(generation);
        }
      }
    } finally {
      lock.unlock();
    }
    return removed;
  }

  int size() {
    lock.lock();
    try {
      return waiting.size();
    } finally {
      lock.unlock();
    }
  }

  /** The nanoseconds until the time of one that waits is over. */
  long left(long now) {
    lock.lock();
    try {
      return waiting.stream().mapToLong(each -> each.left(now)).min().orElse(Long.MAX_VALUE);
    } finally {
      lock.unlock();
    }
  }

  /** Ends {@link #await}, now or when it is called next. */
  void wake() {
    lock.lock();
    try {
      awake = true;
      changed.signal();
    } finally {
      lock.unlock();
    }
  }

  /** Waits until something has happened, at most so long. */
  void await(long nanos) throws InterruptedException {
    lock.lock();
    try {
      long left = nanos;
      while (!awake && left > 0) {
        left = changed.awaitNanos(left);
      }
      awake = false;
    } finally {
      lock.unlock();
    }
  }

  /** Refuses all that come from now on. */
  void close() {
    lock.lock();
    try {
      closed = true;
      awake = true;
      changed.signal();
    } finally {
      lock.unlock();
    }
  }

  boolean isClosed() {
    lock.lock();
    try {
      return closed;
    } finally {
      lock.unlock();
    }
  }
}
