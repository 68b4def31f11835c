package org.autocircuit.pass;

/**
 * Is told how far a long call is, on the thread that made the call, between two of its native
 * steps. What it throws ends the call; to stop one and keep what is done, interrupt the thread, as
 * {@link org.autocircuit.exception.StoppedException} says.
 */
@FunctionalInterface
public interface Progress {

  /** Does nothing. */
  Progress NONE = (done, total) -> {};

  /**
   * Takes the steps so far.
   *
   * @param done greater at each report, and {@code total} at the last one of a call that goes
   *     through
   * @param total the steps of the whole call, of a kind that the call names; may become smaller
   *     where a call ends early
   */
  void report(long done, long total);
}
