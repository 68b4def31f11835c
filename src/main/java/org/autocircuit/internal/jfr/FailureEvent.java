package org.autocircuit.internal.jfr;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;

/** One pass that native code could not finish; refused calls do not count. */
@Name("org.autocircuit.Failure")
@Label("Failed Pass")
@Description("A pass of a patchable model that failed in native code, such as for lack of memory")
@Category("AutoCircuit")
public final class FailureEvent extends Event {

  @Label("Model")
  String model;

  @Label("Message")
  String message;

  /** Writes the event, if anyone listens. */
  public static void write(String model, Throwable failure) {
    FailureEvent event = new FailureEvent();
    if (event.shouldCommit()) {
      event.model = model;
      event.message = failure.getMessage();
      event.commit();
    }
  }
}
