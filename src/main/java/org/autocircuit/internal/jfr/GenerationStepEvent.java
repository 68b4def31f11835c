package org.autocircuit.internal.jfr;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;

/** One step of a generator that succeeded. Off, it costs a test of a flag. */
@Name("org.autocircuit.GenerationStep")
@Label("Generation Step")
@Description("A pass that requests of a generator shared")
@Category("AutoCircuit")
@StackTrace(false)
public final class GenerationStepEvent extends Event {

  @Label("Model")
  String model;

  @Label("Rows")
  @Description("Requests that took part")
  int rows;

  @Label("Decode Rows")
  @Description("Answers that got a token")
  int decodeRows;

  @Label("Prefill Tokens")
  @Description("Tokens of prompts, those of donors included")
  int prefillTokens;

  @Label("Largest Chunk")
  @Description("Most tokens of one prompt")
  int largestChunk;

  @Label("Patched Rows")
  @Description("Requests of which tokens were patched")
  int patchedRows;

  @Label("Mask Sets")
  @Description("Different masks")
  int maskSets;

  @Label("Donors")
  @Description("Donors that ran beside")
  int donors;

  /** An event that begins now. */
  public static GenerationStepEvent begun() {
    GenerationStepEvent event = new GenerationStepEvent();
    event.begin();
    return event;
  }

  /** Writes the event, if anyone listens. */
  public void write(
      String model,
      int rows,
      int decodeRows,
      int prefillTokens,
      int largestChunk,
      int patchedRows,
      int maskSets,
      int donors) {
    if (shouldCommit()) {
      this.model = model;
      this.rows = rows;
      this.decodeRows = decodeRows;
      this.prefillTokens = prefillTokens;
      this.largestChunk = largestChunk;
      this.patchedRows = patchedRows;
      this.maskSets = maskSets;
      this.donors = donors;
      commit();
    }
  }
}
