package org.autocircuit.internal.jfr;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;

/** One request that a generator did not take, for lack of room. */
@Name("org.autocircuit.Refusal")
@Label("Refusal")
@Description("A request that a generator refused for lack of room; mistaken ones do not count")
@Category("AutoCircuit")
@StackTrace(false)
public final class RefusalEvent extends Event {

  @Label("Model")
  String model;

  @Label("Reason")
  @Description("queue_full or does_not_fit")
  String reason;

  /** Writes the event, if anyone listens. */
  public static void write(String model, String reason) {
    RefusalEvent event = new RefusalEvent();
    if (event.shouldCommit()) {
      event.model = model;
      event.reason = reason;
      event.commit();
    }
  }
}
