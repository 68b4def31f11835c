package org.autocircuit.internal;

import org.bytedeco.javacpp.IntPointer;
import org.bytedeco.javacpp.PointerScope;

/**
 * A flag that native code looks at while it computes. Any thread may set it until it is closed; its
 * owner closes it when no native call has it any more.
 */
public final class StopFlag implements AutoCloseable {

  private final IntPointer flag;

  public StopFlag() {
    try (PointerScope scope = new PointerScope()) {
      flag = new IntPointer(1).put(0);
      flag.retainReference();
    }
  }

  /** Asks native code to stop, or no longer. */
  public synchronized void set(boolean stop) {
    if (!flag.isNull()) {
      flag.put(stop ? 1 : 0);
    }
  }

  /** The place where native code looks. */
  public long address() {
    return flag.address();
  }

  @Override
  public synchronized void close() {
    if (!flag.isNull()) {
      flag.releaseReference();
      flag.setNull();
    }
  }
}
