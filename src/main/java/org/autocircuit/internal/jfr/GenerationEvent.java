package org.autocircuit.internal.jfr;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;
import jdk.jfr.Timespan;

/** One request that a generator took and that has ended. Off, it costs a test of a flag. */
@Name("org.autocircuit.Generation")
@Label("Generation")
@Description("A request of a generator, from its submission to its end for whatever reason")
@Category("AutoCircuit")
@StackTrace(false)
public final class GenerationEvent extends Event {

  @Label("Model")
  String model;

  @Label("Patch")
  @Description("The kind of patch: none, constant, positions or resample")
  String patch;

  @Label("Prompt Tokens")
  int promptTokens;

  @Label("Tokens")
  @Description("Tokens of the answer")
  int tokens;

  @Label("Finish Reason")
  String finishReason;

  @Label("Queue Time")
  @Timespan(Timespan.NANOSECONDS)
  long queueTime;

  @Label("Time to First Token")
  @Description("From the submission on; N/A: there was none")
  @Timespan(Timespan.NANOSECONDS)
  long timeToFirstToken;

  /** An event that begins now. */
  public static GenerationEvent begun() {
    GenerationEvent event = new GenerationEvent();
    event.begin();
    return event;
  }

  /** Ends the event now and writes it, if anyone listens. */
  public void end(
      String model,
      String patch,
      int promptTokens,
      int tokens,
      String finishReason,
      long queueTime,
      long timeToFirstToken) {
    if (shouldCommit()) {
      this.model = model;
      this.patch = patch;
      this.promptTokens = promptTokens;
      this.tokens = tokens;
      this.finishReason = finishReason;
      this.queueTime = queueTime;
      this.timeToFirstToken = timeToFirstToken;
      commit();
    }
  }
}
