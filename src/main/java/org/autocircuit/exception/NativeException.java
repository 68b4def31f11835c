package org.autocircuit.exception;

/**
 * Native code refused or failed. Arguments are checked in Java before native code sees them, so
 * this is about what only the computation itself can find: memory that ran out, a weight whose type
 * an operation does not support. The message is the native one, without a C++ stack trace.
 */
public class NativeException extends RuntimeException {

  /**
   * Called by native code.
   *
   * @param message what failed
   */
  public NativeException(String message) {
    super(message);
  }
}
