package org.autocircuit.generate;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.Collections;
import java.util.EnumMap;
import java.util.Map;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.Consumer;
import org.autocircuit.exception.QueueFullException;

/** Counts what a generator does, and tells its listener. Any thread may use it. */
final class Counters {

  private static final Logger LOG = System.getLogger("org.autocircuit.generate");

  private final GenerationListener listener;
  private final LongAdder refusedFull = new LongAdder();
  private final LongAdder refusedSize = new LongAdder();
  private final LongAdder steps = new LongAdder();
  private final LongAdder failedSteps = new LongAdder();
  private final LongAdder tokens = new LongAdder();
  private final Map<FinishReason, LongAdder> finished = new EnumMap<>(FinishReason.class);

  Counters(GenerationListener listener) {
    this.listener = listener;
    for (FinishReason reason : FinishReason.values()) {
      finished.put(reason, new LongAdder());
    }
  }

  void tell(Consumer<GenerationListener> what) {
    try {
      what.accept(listener);
    } catch (RuntimeException e) {
      LOG.log(Level.WARNING, "a listener of a generator failed", e);
    }
  }

  void refused(GenerationRequest request, RuntimeException reason) {
    (reason instanceof QueueFullException ? refusedFull : refusedSize).increment();
    tell(to -> to.refused(request, reason));
  }

  void token(Generation generation, boolean first) {
    tokens.increment();
    if (first) {
      tell(to -> to.firstToken(generation));
    }
  }

  void stepped(StepReport report) {
    steps.increment();
    tell(to -> to.stepped(report));
  }

  void failed(Throwable failure) {
    failedSteps.increment();
    tell(to -> to.failed(failure));
  }

  /** Ends a generation, unless it has ended. */
  void end(Generation generation, FinishReason reason, Throwable failure) {
    if (generation.end(reason, failure)) {
      finished.get(reason).increment();
      tell(to -> to.finished(generation, reason));
    }
  }

  GeneratorState state(int waiting, int active, long kvReserved, long kvLimit) {
    Map<FinishReason, Long> ended = new EnumMap<>(FinishReason.class);
    finished.forEach((reason, count) -> ended.put(reason, count.sum()));
    return new GeneratorState(
        waiting,
        active,
        kvReserved,
        kvLimit,
        refusedFull.sum(),
        refusedSize.sum(),
        steps.sum(),
        failedSteps.sum(),
        tokens.sum(),
        Collections.unmodifiableMap(ended));
  }
}
