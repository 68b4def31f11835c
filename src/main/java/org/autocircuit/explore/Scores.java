package org.autocircuit.explore;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.locks.ReentrantLock;
import org.autocircuit.internal.http.Refusal;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.BatchAblation;

/** The scores that are known, and the methods that give more. Safe for use by several threads. */
final class Scores {

  /** Names what gave scores, and what edges were patched with for it. */
  record Key(String method, BatchAblation ablation) {}

  private final Map<String, Scored.Method> methods;
  private final Key first;
  private final Map<Key, Scored> known = new LinkedHashMap<>();
  private final ReentrantLock computing = new ReentrantLock();

  Scores(String method, Scored scored, Map<String, Scored.Method> methods) {
    this.methods = new LinkedHashMap<>(methods);
    first = new Key(method, BatchAblation.RESAMPLE);
    known.put(first, scored);
  }

  /** The scores that were there at first. */
  Key first() {
    return first;
  }

  /** All methods by name, that of the first scores among them. */
  Iterable<String> methods() {
    Map<String, Scored.Method> all = new LinkedHashMap<>();
    all.put(first.method(), null);
    all.putAll(methods);
    return all.keySet();
  }

  /** All that is known. */
  synchronized Map<Key, Scored> known() {
    return new LinkedHashMap<>(known);
  }

  private synchronized boolean has(Key key) {
    return known.containsKey(key);
  }

  /**
   * Computes scores unless they are known, one after another: they take all processors.
   *
   * @param progress is told how far it is; what it throws ends the work
   */
  void compute(Key key, Progress progress) {
    Scored.Method method = methods.get(key.method());
    if (method == null && !has(key)) {
      throw Refusal.of(
          "method",
          key.method().equals(first.method())
              ? "another method: these scores were read from a file"
              : "one of %s".formatted(methods.keySet()),
          "'%s'".formatted(key.method()));
    }
    computing.lock();
    try {
      if (!has(key)) {
        Scored scored = method.score(key.ablation(), progress);
        synchronized (this) {
          known.put(key, scored);
        }
      }
    } finally {
      computing.unlock();
    }
  }
}
