package org.autocircuit.generate;

import java.util.ArrayList;
import java.util.List;

/** An engine of which two of 32 steps fail in a row, in native code if the engine is such. */
final class FaultyEngine extends EngineDouble {

  private int step;
  int succeeded;
  int failed;

  FaultyEngine(StepEngine engine) {
    super(engine);
  }

  @Override
  public Output step(List<Chunk> chunks, List<String> reads) {
    step++;
    List<Chunk> all = new ArrayList<>(chunks);
    if (step % 32 > 29) {
      all.add(chunks.get(0)); // no step takes a sequence twice
    }
    Output output;
    try {
      output = super.step(all, reads);
    } catch (RuntimeException e) {
      failed++;
      throw e;
    }
    succeeded += output == null ? 0 : 1;
    return output;
  }
}
