package org.autocircuit.internal;

import java.util.HashMap;
import java.util.Map;

/**
 * Says what the calls that run on each thread hold. Outside of calls nothing is left of it on a
 * thread, which would keep the class loader.
 */
final class Held {

  private static final ThreadLocal<Map<Object, Integer>> BY_THREAD = new ThreadLocal<>();

  private Held() {}

  /** Returns whether this thread holds it. */
  static boolean contains(Object key) {
    Map<Object, Integer> held = BY_THREAD.get();
    return held != null && held.containsKey(key);
  }

  /** Holds it once more, and tells whether this is the thread's first time. */
  static boolean add(Object key) {
    Map<Object, Integer> held = BY_THREAD.get();
    if (held == null) {
      held = new HashMap<>();
      BY_THREAD.set(held);
    }
    return held.merge(key, 1, Integer::sum) == 1;
  }

  /** Lets go of it once, and tells whether this was the thread's last time. */
  static boolean remove(Object key) {
    Map<Object, Integer> held = BY_THREAD.get();
    boolean last = held.merge(key, -1, (old, less) -> old == 1 ? null : old - 1) == null;
    if (held.isEmpty()) {
      BY_THREAD.remove();
    }
    return last;
  }
}
