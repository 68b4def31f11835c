package org.autocircuit.internal.jfr;

import java.util.concurrent.atomic.AtomicLong;
import java.util.function.LongSupplier;
import jdk.jfr.Category;
import jdk.jfr.DataAmount;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;

/** The pool of buffers took more memory. Off, it costs a test of a flag. */
@Name("org.autocircuit.Workspace")
@Label("Workspace Growth")
@Description("The pool of buffers that all passes share took more memory")
@Category("AutoCircuit")
@StackTrace(false)
public final class WorkspaceEvent extends Event {

  private static final AtomicLong SEEN = new AtomicLong();

  @Label("Before")
  @DataAmount
  long before;

  @Label("After")
  @DataAmount
  long after;

  /**
   * Writes an event if the pool is larger than when this was called before, and anyone listens.
   *
   * @param bytes the size of the pool; asked only if anyone listens
   */
  public static void ifGrown(LongSupplier bytes) {
    WorkspaceEvent event = new WorkspaceEvent();
    if (event.isEnabled()) {
      event.after = bytes.getAsLong();
      event.before = SEEN.getAndSet(event.after);
      if (event.after > event.before) {
        event.commit();
      }
    }
  }
}
