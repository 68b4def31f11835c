package org.autocircuit.internal.jfr;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;

/** One forward pass that succeeded. Off, it costs a test of a flag. */
@Name("org.autocircuit.Forward")
@Label("Forward Pass")
@Description("A forward pass of a patchable model, from checked arguments to results")
@Category("AutoCircuit")
@StackTrace(false)
public final class ForwardEvent extends Event {

  @Label("Model")
  String model;

  @Label("Batch")
  long batch;

  @Label("Positions")
  long seq;

  @Label("Patched")
  boolean patched;

  @Label("Recorded")
  @Description("Whether autograd recorded the pass for a backward one")
  boolean recorded;

  @Label("Source Outputs")
  @Description("Whether the outputs of all sources were kept")
  boolean sources;

  /** An event that begins now. */
  public static ForwardEvent begun() {
    ForwardEvent event = new ForwardEvent();
    event.begin();
    return event;
  }

  /** Ends the event now and writes it, if anyone listens. */
  public void end(
      String model, long batch, long seq, boolean patched, boolean recorded, boolean sources) {
    if (shouldCommit()) {
      this.model = model;
      this.batch = batch;
      this.seq = seq;
      this.patched = patched;
      this.recorded = recorded;
      this.sources = sources;
      commit();
    }
  }
}
