package org.autocircuit.patch;

import java.util.function.Supplier;

/**
 * Keeps something open for one thread until it is closed, on that thread and once. If it is closed
 * elsewhere meanwhile, calls of this thread still succeed, and the memory is freed with the last
 * use; other threads are refused. For work of several calls:
 *
 * <pre>{@code
 * try (Use use = model.use()) {
 *   ... // another thread may close the model here
 * }
 * }</pre>
 *
 * <p>The JVM waits for open uses when it shuts down, up to 30 seconds.
 */
@FunctionalInterface
public interface Use extends AutoCloseable {

  /** This and another one as one. If the other one cannot begin, this one ends. */
  default Use and(Supplier<Use> other) {
    try {
      Use second = other.get();
      return () -> {
        try (Use first = this) {
          second.close();
        }
      };
    } catch (RuntimeException | Error e) {
      close();
      throw e;
    }
  }

  @Override
  void close();
}
