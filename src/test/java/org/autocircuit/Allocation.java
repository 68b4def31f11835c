package org.autocircuit;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;

/** Says what the calling thread takes from the Java heap. */
public final class Allocation {

  private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();

  private Allocation() {}

  /** Bytes allocated so far, those freed since included. */
  public static long bytes() {
    return THREADS.getThreadAllocatedBytes(Thread.currentThread().getId());
  }

  /** Bytes that an action allocates. */
  public static long of(Runnable action) {
    long before = bytes();
    action.run();
    return bytes() - before;
  }
}
