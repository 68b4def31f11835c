package org.autocircuit;

import org.autocircuit.internal.NativeMath;
import org.autocircuit.internal.Numbers;

/**
 * The buffers that passes on the CPU take and give back: one pool for the process, shared by all
 * models and threads. What is idle is kept for the next pass, since memory that is fresh from the
 * system costs more than the arithmetic on it. Tensors that a method returned hold their buffers
 * until they are freed.
 */
public final class Workspaces {

  private Workspaces() {}

  /**
   * Sets how many bytes are kept idle, 1 GiB at first; what is over is given back to the system. 0
   * keeps none, at the price of slower passes.
   *
   * @throws IllegalArgumentException if it is negative
   */
  public static void setLimit(long bytes) {
    Numbers.atLeast(0, "bytes", bytes);
    NativeMath.setWorkspaceLimit(bytes);
  }

  /** Returns how many bytes are kept idle at most. */
  public static long limit() {
    return NativeMath.workspaceLimit();
  }

  /** Returns how many bytes the pool holds now, in use or idle. */
  public static long bytes() {
    return NativeMath.workspaceBytes();
  }

  /** Returns how many bytes were in use at most at one time, since the last {@link #resetPeak}. */
  public static long peakBytes() {
    return NativeMath.workspacePeakBytes(/* idle= */ false);
  }

  /** Returns how many bytes the pool held at most at one time, in use or idle, since then. */
  public static long peakHeldBytes() {
    return NativeMath.workspacePeakBytes(/* idle= */ true);
  }

  /** Forgets both peaks: looks for the next ones, from what is there now. */
  public static void resetPeak() {
    NativeMath.resetWorkspacePeak();
  }
}
