package org.autocircuit.exception;

/**
 * A request needs more memory than its generator has for all together, so it would wait for ever.
 * The message says what it needs and what there is; fewer tokens need less.
 */
public class DoesNotFitException extends IllegalArgumentException {

  /**
   * Says what is needed.
   *
   * @param message the bytes needed and those there are
   */
  public DoesNotFitException(String message) {
    super(message);
  }
}
