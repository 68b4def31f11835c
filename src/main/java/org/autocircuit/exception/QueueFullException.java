package org.autocircuit.exception;

/**
 * A generator has as many waiting requests as its queue takes. Nothing was begun: try again later,
 * or tell the client to. A server answers with 429 or 503.
 */
public class QueueFullException extends IllegalStateException {

  /**
   * Says how many wait.
   *
   * @param message the length of the queue
   */
  public QueueFullException(String message) {
    super(message);
  }
}
