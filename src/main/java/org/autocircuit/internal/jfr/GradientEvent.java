package org.autocircuit.internal.jfr;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;

/** One gradient with respect to the masks that succeeded. Off, it costs a test of a flag. */
@Name("org.autocircuit.Gradient")
@Label("Mask Gradient")
@Description("Forward, loss and backward of a patchable model in one call")
@Category("AutoCircuit")
@StackTrace(false)
public final class GradientEvent extends Event {

  @Label("Model")
  String model;

  @Label("Batch")
  long batch;

  @Label("Positions")
  long seq;

  /** An event that begins now. */
  public static GradientEvent begun() {
    GradientEvent event = new GradientEvent();
    event.begin();
    return event;
  }

  /** Ends the event now and writes it, if anyone listens. */
  public void end(String model, long batch, long seq) {
    if (shouldCommit()) {
      this.model = model;
      this.batch = batch;
      this.seq = seq;
      commit();
    }
  }
}
