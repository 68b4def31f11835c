package org.autocircuit;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import org.autocircuit.internal.NativeMath;

/**
 * Sets how many threads one native call uses, for the whole process. A server that runs many models
 * or requests at once gets the most out of its cores with 1, a single caller with the number of
 * cores.
 *
 * <p>Until {@link #set} is called, each pass takes as many as its work is worth, up to the number
 * of cores or what {@code OMP_NUM_THREADS} says: those of small models take one, since threads that
 * wait for each other within microseconds lose many times what they gain as soon as another process
 * wants a core. Training takes as many for its backward passes.
 *
 * <p>A change reaches every thread at its next call of this library, also those that have computed
 * before.
 *
 * <p>The threads are LibTorch's. OpenBLAS has a pool of its own, whose threads and LibTorch's would
 * keep each other from their cores: from this library's first call on it computes on the thread
 * that calls it, and this library divides its products itself. Products that other code of the
 * process asks of OpenBLAS have one thread from then on.
 */
public final class Threads {

  private static final Logger LOG = System.getLogger("org.autocircuit.native");

  /** The most that may be set: OpenMP ends the process if a thread cannot be started. */
  private static final int MOST = 1024;

  private Threads() {}

  /**
   * Sets the number of threads of every call, whatever its work.
   *
   * @param threads 1 to 1,024, or to the number of processors where those are more
   * @throws IllegalArgumentException if there are fewer or more
   * @throws org.autocircuit.exception.NativeLoadException if the native libraries cannot be loaded
   */
  public static void set(int threads) {
    int processors = Runtime.getRuntime().availableProcessors();
    int most = Math.max(MOST, processors);
    if (threads < 1 || threads > most) {
      throw new IllegalArgumentException(
          "threads: expected 1 to %s, got %s".formatted(most, threads));
    }
    if (threads > processors) {
      LOG.log(
          Level.WARNING,
          "%s threads a call are more than the %s processors: they wait for each other"
              .formatted(threads, processors));
    }
    NativeMath.setThreads(threads);
  }

  /** The number of threads of a call, or the most that a call may choose until one is set. */
  public static int get() {
    return NativeMath.threads();
  }
}
