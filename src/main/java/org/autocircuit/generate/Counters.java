package org.autocircuit.generate;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.Collections;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.Consumer;
import org.autocircuit.exception.QueueFullException;
import org.autocircuit.internal.jfr.GenerationEvent;
import org.autocircuit.internal.jfr.GenerationStepEvent;
import org.autocircuit.internal.jfr.RefusalEvent;

/**
 * Counts what a generator does, and tells its listeners and JDK Flight Recorder. Any thread may use
 * it.
 */
final class Counters {

  private static final Logger LOG = System.getLogger("org.autocircuit.generate");

  private final String model;
  private final List<GenerationListener> listeners;
  private final LongAdder refusedFull = new LongAdder();
  private final LongAdder refusedSize = new LongAdder();
  private final LongAdder steps = new LongAdder();
  private final LongAdder failedSteps = new LongAdder();
  private final LongAdder tokens = new LongAdder();
  private final Map<FinishReason, LongAdder> finished = new EnumMap<>(FinishReason.class);

  Counters(String model, List<GenerationListener> listeners) {
    this.model = model;
    this.listeners = List.copyOf(listeners);
    for (FinishReason reason : FinishReason.values()) {
      finished.put(reason, new LongAdder());
    }
  }

  void tell(Consumer<GenerationListener> what) {
    for (GenerationListener listener : listeners) {
      try {
        what.accept(listener);
      } catch (Exception | Error e) {
        LOG.log(Level.WARNING, "a listener of a generator failed", e);
      }
    }
  }

  void refused(GenerationRequest request, RuntimeException reason) {
    boolean full = reason instanceof QueueFullException;
    (full ? refusedFull : refusedSize).increment();
    RefusalEvent.write(model, full ? "queue_full" : "does_not_fit");
    tell(to -> to.refused(request, reason));
  }

  void token() {
    tokens.increment();
  }

  void firstToken(Generation generation) {
    tell(to -> to.firstToken(generation));
  }

  void stepped(StepReport report, GenerationStepEvent event) {
    steps.increment();
    event.write(
        model,
        report.rows(),
        report.decodeRows(),
        report.prefillTokens(),
        report.largestChunk(),
        report.patchedRows(),
        report.maskSets(),
        report.donors());
    tell(to -> to.stepped(report));
  }

  void failed(Throwable failure) {
    failedSteps.increment();
    tell(to -> to.failed(failure));
  }

  /** Ends a generation, unless it has ended. */
  void end(Generation generation, FinishReason reason, Throwable failure) {
    if (generation.end(reason, failure, finished.get(reason)::increment)) {
      write(generation.event, generation.request(), generation.ended().orElseThrow());
      tell(to -> to.finished(generation, reason));
    }
  }

  private void write(GenerationEvent event, GenerationRequest request, GenerationResult result) {
    event.end(
        model,
        request.patch().kind(),
        request.promptLength(),
        result.chosen(),
        result.reason().name(),
        result.waited().toNanos(),
        result.toFirstToken().map(Duration::toNanos).orElse(Long.MIN_VALUE));
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
