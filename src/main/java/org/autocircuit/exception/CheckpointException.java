package org.autocircuit.exception;

/**
 * A file of a model folder cannot be used: it is missing, truncated, malformed, or describes a
 * model that this library does not run. The message names the file, what was met there, and what is
 * expected or supported.
 *
 * <p>The type extends {@link IllegalArgumentException} because the caller named the folder, and
 * only the caller can name a better one: code that reports bad arguments reports bad folders with
 * it. A failing disk arrives as the {@linkplain #getCause() cause}.
 */
public class CheckpointException extends IllegalArgumentException {

  /**
   * Describes what is wrong and where.
   *
   * @param message the file, what was met, and what is expected
   */
  public CheckpointException(String message) {
    super(message);
  }

  /**
   * Describes what is wrong and where, keeping the failure that revealed it.
   *
   * @param message the file, what was met, and what is expected
   * @param cause the failure underneath, for instance an {@link java.io.IOException}
   */
  public CheckpointException(String message, Throwable cause) {
    super(message, cause);
  }
}
