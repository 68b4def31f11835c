package org.autocircuit.internal.jfr;

import jdk.jfr.Category;
import jdk.jfr.DataAmount;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;

/** One model that was loaded from files. */
@Name("org.autocircuit.Load")
@Label("Model Load")
@Description("A model read from a checkpoint into memory")
@Category("AutoCircuit")
@StackTrace(false)
public final class LoadEvent extends Event {

  @Label("Model")
  String model;

  @Label("Path")
  String path;

  @Label("Size")
  @Description("Memory of the weights, shared ones once")
  @DataAmount
  long bytes;

  @Label("Precision")
  String precision;

  @Label("Device")
  String device;

  /** An event that begins now. */
  public static LoadEvent begun() {
    LoadEvent event = new LoadEvent();
    event.begin();
    return event;
  }

  /** Ends the event now and writes it, if anyone listens. */
  public void end(String model, String path, long bytes, String precision, String device) {
    if (shouldCommit()) {
      this.model = model;
      this.path = path;
      this.bytes = bytes;
      this.precision = precision;
      this.device = device;
      commit();
    }
  }
}
