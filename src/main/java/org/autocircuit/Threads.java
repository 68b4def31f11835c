package org.autocircuit;

import org.autocircuit.internal.NativeMath;

/**
 * How many threads one native call may use, for LibTorch's and OpenBLAS's pools alike. One setting
 * for the whole process. A server that runs many models or requests at once gets the most out of
 * its cores with 1, a single caller with the number of cores.
 */
public final class Threads {

  private Threads() {}

  /**
   * Sets the number of threads of a call.
   *
   * @param threads 1 or more
   * @throws IllegalArgumentException if it is less than 1
   */
  public static void set(int threads) {
    if (threads < 1) {
      throw new IllegalArgumentException("threads: expected 1 or more, got " + threads);
    }
    NativeMath.setThreads(threads);
  }

  /** The number of threads of a call. */
  public static int get() {
    return NativeMath.threads();
  }
}
