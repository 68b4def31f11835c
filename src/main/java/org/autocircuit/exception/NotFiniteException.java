package org.autocircuit.exception;

/**
 * Logits, what follows from them, or the mean activations of a data set are NaN or infinite, so
 * that nothing can be learned from them: numbers of 16 bits overflowed, or weights are not finite.
 * Algorithms end with it rather than give scores and measures that mean nothing.
 */
public class NotFiniteException extends ArithmeticException {

  /**
   * Called by whoever found it.
   *
   * @param message what is not finite, and what may help
   */
  public NotFiniteException(String message) {
    super(message);
  }
}
