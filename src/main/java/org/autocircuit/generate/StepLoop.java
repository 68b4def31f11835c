package org.autocircuit.generate;

import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Predicate;
import org.autocircuit.internal.jfr.GenerationStepEvent;

/**
 * The work of a generator's thread: between steps it ends what is cancelled or late and lets
 * waiting requests begin; then all that run share one pass. What others may see of it changes only
 * there.
 */
final class StepLoop implements Runnable {

  private final StepEngine engine;
  private final RequestQueue queue;
  private final Counters counters;
  private final Generator.Settings settings;
  private final double[] logits;
  private final Exponentials exponentials = new Exponentials();
  private final List<ActiveRequest> active = new ArrayList<>();

  /** Guards what runs in the step, of which others decide whether it is stopped. */
  private final Object stepping = new Object();

  private final Set<Generation> inStep = new HashSet<>();
  private boolean closing;

  private final AtomicLong reserved = new AtomicLong();
  private volatile int running;

  StepLoop(StepEngine engine, RequestQueue queue, Counters counters, Generator.Settings settings) {
    this.engine = engine;
    this.queue = queue;
    this.counters = counters;
    this.settings = settings;
    logits = new double[settings.checks().vocabulary()];
  }

  /** The bytes set aside for what runs. */
  long reserved() {
    return reserved.get();
  }

  /** The number of requests that run. */
  int running() {
    return running;
  }

  /** Stops the step that runs if nobody waits for it any more, and looks at what was cancelled. */
  void cancelled() {
    synchronized (stepping) {
      engine.stop(isUnwanted());
    }
    queue.wake();
  }

  /** Ends all as soon as the step that runs has stopped. */
  void close() {
    queue.close();
    synchronized (stepping) {
      closing = true;
      engine.stop(true);
    }
  }

  private boolean isUnwanted() {
    return closing || (!inStep.isEmpty() && inStep.stream().allMatch(Generation::isCancelled));
  }

  @Override
  public void run() {
    try (engine) {
      while (!queue.isClosed()) {
        try {
          endWhatIsOver();
          admit();
          List<ActiveRequest> ready = active.stream().filter(ActiveRequest::isReady).toList();
          if (ready.isEmpty()) {
            queue.await(left());
          } else {
            step(draft(ready));
          }
        } catch (InterruptedException e) {
          // A sampler, guard or listener has set it; only close() ends this thread.
        } catch (Exception | Error e) {
          counters.failed(e);
          List.copyOf(active).forEach(each -> end(each, FinishReason.ERROR, e));
        }
      }
      List.copyOf(active).forEach(each -> end(each, FinishReason.CANCELLED, null));
      queue
          .removeIf(each -> true)
          .forEach(each -> counters.end(each, FinishReason.CANCELLED, null));
    }
  }

  private void endWhatIsOver() {
    long now = System.nanoTime();
    Predicate<Generation> late = each -> each.isExpired(now);
    queue.removeIf(late).forEach(each -> counters.end(each, FinishReason.DEADLINE, null));
    for (ActiveRequest each : List.copyOf(active)) {
      Generation generation = each.generation();
      if (generation.isCancelled()) {
        end(each, FinishReason.CANCELLED, null);
      } else if (generation.isExpired(now)) {
        end(each, generation.isResting() ? FinishReason.UNREAD : FinishReason.DEADLINE, null);
      }
    }
  }

  /** The nanoseconds until something is late. */
  private long left() {
    long now = System.nanoTime();
    return active.stream()
        .mapToLong(each -> each.generation().left(now))
        .reduce(queue.left(now), Math::min);
  }

  private void end(ActiveRequest each, FinishReason reason, Throwable failure) {
    if (!active.remove(each)) {
      return;
    }
    running = active.size();
    reserved.addAndGet(-each.generation().plan().bytes());
    try {
      each.close();
    } finally {
      counters.end(each.generation(), reason, failure);
    }
  }

  /** Lets waiting requests begin in their order, as long as there is room for the first of them. */
  private void admit() {
    Generation first = queue.first();
    while (first != null && active.size() < settings.maxActive()) {
      if (reserved.get() + first.plan().bytes() > settings.kvBytes()) {
        return;
      }
      if (queue.remove(first)) {
        begin(first);
      }
      first = queue.first();
    }
  }

  private void begin(Generation generation) {
    generation.start();
    try {
      ActiveRequest request =
          new ActiveRequest(
              generation,
              settings.checks().capacity(generation.request()),
              settings.endTokens(),
              settings.textStream(generation.request()),
              engine,
              active);
      active.add(request);
      running = active.size();
      reserved.addAndGet(generation.plan().bytes());
      counters.tell(to -> to.started(generation));
      if (request.isOver() != null) {
        end(request, request.isOver(), null);
      }
    } catch (Exception | Error e) { // a sampler's maker may throw what it does not declare
      counters.end(generation, FinishReason.ERROR, e);
    }
  }

  /** Answers that get a token come first, then prompts in the order in which they came. */
  private StepDraft draft(List<ActiveRequest> ready) {
    // All of them first: a donor that a fork shares is let go of where the draft takes its parent.
    ready.forEach(each -> endIfFails(each, () -> each.prepare(engine)));
    StepDraft draft = new StepDraft();
    long left = settings.passBytes();
    for (boolean decoding : new boolean[] {true, false}) {
      for (ActiveRequest each : ready) {
        long perToken = each.passBytesPerToken(engine);
        if (each.isDecoding() == decoding && left >= perToken && active.contains(each)) {
          int most = (int) Math.min(settings.chunkTokens(), left / perToken);
          endIfFails(each, () -> each.addTo(draft, most, engine));
          left -= perToken * each.inDraft();
        }
      }
    }
    return draft;
  }

  /** Does what may need memory for one request. */
  private void endIfFails(ActiveRequest each, Runnable action) {
    try {
      action.run();
    } catch (Exception | Error e) {
      end(each, FinishReason.ERROR, e);
    }
  }

  private void step(StepDraft draft) {
    try {
      runTogether(draft);
    } catch (Exception | Error e) {
      counters.failed(e);
      if (draft.rows().size() == 1) {
        end(draft.rows().get(0), FinishReason.ERROR, e);
      } else {
        draft.rows().forEach(this::runAlone);
      }
    }
    // If a pass has no room for all, those that had no turn come first next time.
    Collections.rotate(active, active.size() > draft.rows().size() ? -draft.rows().size() : 0);
  }

  private void runAlone(ActiveRequest row) {
    try {
      runTogether(draft(List.of(row)));
    } catch (Exception | Error e) {
      counters.failed(e);
      end(row, FinishReason.ERROR, e);
    }
  }

  private void runTogether(StepDraft draft) {
    if (draft.rows().isEmpty()) {
      return;
    }
    synchronized (stepping) {
      draft.rows().forEach(row -> inStep.add(row.generation()));
      engine.stop(isUnwanted());
    }
    GenerationStepEvent event = GenerationStepEvent.begun();
    long begin = System.nanoTime();
    try (StepEngine.Output output = engine.step(draft.chunks(), draft.reads())) {
      long nanos = System.nanoTime() - begin;
      if (output != null) {
        event.end();
        counters.stepped(draft.report(nanos), event);
        draft.rows().forEach(row -> take(row, output, draft));
      }
    } finally {
      synchronized (stepping) {
        inStep.clear();
      }
    }
  }

  /** Gives out the token of a request, which fails alone if it does. */
  private void take(ActiveRequest row, StepEngine.Output output, StepDraft draft) {
    Generation generation = row.generation();
    try {
      int before = row.answered();
      FinishReason reason = row.take(output, draft, logits, exponentials, counters::token);
      if (before == generation.given().size() && row.answered() > before) {
        counters.firstToken(generation);
      }
      if (reason != null) {
        end(row, reason, null);
      }
    } catch (Exception | Error e) {
      end(row, FinishReason.ERROR, e);
    }
  }
}
