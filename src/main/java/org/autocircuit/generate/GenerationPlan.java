package org.autocircuit.generate;

/**
 * The memory that a request needs, known before anything runs.
 *
 * @param kvBytes keys and values of prompt, answer and donor: set aside from when it begins to run
 *     until it ends, and never taken away
 * @param maskBytes masks of its own
 * @param donorBytes the part of {@code kvBytes} that is its donor's
 */
public record GenerationPlan(long kvBytes, long maskBytes, long donorBytes) {

  /** All of it. */
  public long bytes() {
    return kvBytes + maskBytes;
  }
}
