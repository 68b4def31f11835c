package org.autocircuit.cli;

import java.io.PrintWriter;

/** Whoever read the standard output has gone, as {@code | head -1} does: nothing is left to do. */
final class ClosedOutput extends RuntimeException {

  private static final long serialVersionUID = 1;

  private ClosedOutput() {
    super("nobody reads the output");
  }

  /**
   * Flushes the output, and ends the command where nobody reads it.
   *
   * @throws ClosedOutput if so
   */
  static void check(PrintWriter out) {
    if (isClosed(out)) {
      throw new ClosedOutput();
    }
  }

  /** Flushes the output, and returns whether nobody reads it. */
  static boolean isClosed(PrintWriter out) {
    return out.checkError() || System.out.checkError(); // which keeps errors to itself
  }
}
