package org.autocircuit.exception;

/**
 * The native libraries could not be loaded. The message is one line that says why and what to do:
 * which jar is missing, which folder cannot be used, or what else in the process is in the way. The
 * {@linkplain #getCause() cause} is what the JVM said, if it said anything.
 */
public class NativeLoadException extends NativeException {

  /**
   * Says what to do.
   *
   * @param message why loading failed and what to do
   * @param cause what the JVM threw, or {@code null}
   */
  public NativeLoadException(String message, Throwable cause) {
    super(message);
    initCause(cause);
  }
}
