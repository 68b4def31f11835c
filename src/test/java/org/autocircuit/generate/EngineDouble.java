package org.autocircuit.generate;

import java.util.List;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.SourceActivations;

/** Does what another engine does, unless a subclass has it otherwise. */
class EngineDouble implements StepEngine {

  private final StepEngine engine;

  EngineDouble(StepEngine engine) {
    this.engine = engine;
  }

  @Override
  public Output step(List<Chunk> chunks, List<String> reads) {
    return engine.step(chunks, reads);
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
  public Handle fork(Handle sequence, int length, int capacity) {
    return engine.fork(sequence, length, capacity);
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
