package org.autocircuit.generate;

import java.util.ArrayList;
import java.util.List;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.SourceActivations;

/** An engine of which two of 32 steps fail in a row, in native code if the engine is such. */
final class FaultyEngine implements StepEngine {

  private final StepEngine engine;
  private int step;
  int succeeded;
  int failed;

  FaultyEngine(StepEngine engine) {
    this.engine = engine;
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
      output = engine.step(all, reads);
    } catch (RuntimeException e) {
      failed++;
      throw e;
    }
    succeeded += output == null ? 0 : 1;
    return output;
  }

  @Override
  public void check(SourceActivations activations, Masks masks) {
    engine.check(activations, masks);
  }

  @Override
  public Handle newSequence(int capacity, boolean patched) {
    return engine.newSequence(capacity, patched);
  }

  @Override
  public long sequenceBytes(int capacity, boolean patched) {
    return engine.sequenceBytes(capacity, patched);
  }

  @Override
  public long maskBytes(Masks masks) {
    return engine.maskBytes(masks);
  }

  @Override
  public Handle newMasks(Masks masks, MaskFn maskFn, long seed) {
    return engine.newMasks(masks, maskFn, seed);
  }

  @Override
  public Handle newConstant(GenerationPatch.Source source, int position) {
    return engine.newConstant(source, position);
  }

  @Override
  public long passBytesPerToken(boolean patched) {
    return engine.passBytesPerToken(patched);
  }

  @Override
  public void stop(boolean value) {
    engine.stop(value);
  }

  @Override
  public void close() {
    engine.close();
  }
}
