package org.autocircuit.exception;

/**
 * A mode was closed while modes that were opened inside it were still open, or a model while a mode
 * of it was. Everything the message names has been closed by the time this is thrown, so the state
 * is sound again. The {@linkplain #getCause() cause} is where the innermost of them was opened.
 */
public class ScopeOrderException extends IllegalStateException {

  /**
   * Names the scopes.
   *
   * @param message what was closed, and what was still open inside it
   * @param openedAt the stack that opened the scope which should have been closed before
   */
  public ScopeOrderException(String message, Throwable openedAt) {
    super(message, openedAt);
  }
}
