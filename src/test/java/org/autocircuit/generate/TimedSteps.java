package org.autocircuit.generate;

import java.util.LinkedHashSet;
import java.util.List;
import java.util.function.LongSupplier;
import java.util.stream.LongStream;
import org.autocircuit.PatchableModel;
import org.autocircuit.model.TransformerConfig;

/** Measures steps in which requests get a token each, and what happens between them. */
public final class TimedSteps extends EngineDouble {

  private final PatchableModel model;
  private final LongSupplier clock;
  private final LongStream.Builder steps = LongStream.builder();
  private final LongStream.Builder between = LongStream.builder();
  private long end;
  private int rows;

  /**
   * Measures steps of a model.
   *
   * @param clock nanoseconds of the thread that asks
   */
  public TimedSteps(PatchableModel model, LongSupplier clock) {
    super(NativeStepEngine.of(model));
    this.model = model;
    this.clock = clock;
  }

  /** Starts a generator, once, whose steps are measured. */
  public Generator start(Generator.Builder builder) {
    return builder.build(
        this,
        new RequestChecks(
            model.graph(),
            (TransformerConfig) model.config(),
            new LinkedHashSet<>(model.hookNames())));
  }

  @Override
  public Output step(List<Chunk> chunks, List<String> reads) {
    long begin = clock.getAsLong();
    boolean decodes = chunks.stream().allMatch(chunk -> chunk.tokens().length == 1);
    boolean goesOn = decodes && chunks.size() == rows;
    if (goesOn) {
      between.add(begin - end);
    }
    Output output = super.step(chunks, reads);
    end = clock.getAsLong();
    if (goesOn) {
      steps.add(end - begin);
    }
    rows = decodes ? chunks.size() : 0;
    return output;
  }

  /** The nanoseconds of native steps, after the generator was closed. */
  public double[] steps() {
    return steps.build().asDoubleStream().toArray();
  }

  /** The nanoseconds from each step to the next one, after the generator was closed. */
  public double[] between() {
    return between.build().asDoubleStream().toArray();
  }
}
