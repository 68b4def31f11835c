package org.autocircuit.generate;

import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import io.micrometer.observation.Observation;
import io.micrometer.observation.ObservationHandler;
import io.micrometer.observation.ObservationRegistry;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.concurrent.ConcurrentLinkedQueue;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingFile;
import org.autocircuit.exception.DoesNotFitException;
import org.autocircuit.exception.QueueFullException;
import org.autocircuit.metrics.GeneratorMetrics;
import org.autocircuit.metrics.RequestMetrics;
import org.autocircuit.metrics.RequestObservations;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.patch.Masks;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;

/** Many requests to a generator of the embedded model, and all that was told of them. */
final class MeteredRun {

  static final String PROMPT = "When Mary and John went";
  private static final int THREADS = 8;
  private static final int REQUESTS = 40;

  /** Keeps all that a listener is told. */
  static final class Tally implements GenerationListener {
    final Queue<Generation> submitted = new ConcurrentLinkedQueue<>();
    final Queue<Generation> finished = new ConcurrentLinkedQueue<>();
    final Queue<Generation> withToken = new ConcurrentLinkedQueue<>();
    final Queue<FinishReason> reasons = new ConcurrentLinkedQueue<>();
    final Queue<RuntimeException> refused = new ConcurrentLinkedQueue<>();
    final Queue<StepReport> steps = new ConcurrentLinkedQueue<>();
    final Queue<Throwable> failures = new ConcurrentLinkedQueue<>();

    @Override
    public void submitted(Generation generation) {
      submitted.add(generation);
    }

    @Override
    public void refused(GenerationRequest request, RuntimeException reason) {
      refused.add(reason);
    }

    @Override
    public void firstToken(Generation generation) {
      withToken.add(generation);
    }

    @Override
    public void finished(Generation generation, FinishReason reason) {
      finished.add(generation);
      reasons.add(reason);
    }

    @Override
    public void stepped(StepReport step) {
      steps.add(step);
    }

    @Override
    public void failed(Throwable failure) {
      failures.add(failure);
    }
  }

  /** Keeps what observations ended with. */
  private final class Spans implements ObservationHandler<Observation.Context> {
    @Override
    public void onEvent(Observation.Event event, Observation.Context context) {
      spanEvents.add(event.getName());
    }

    @Override
    public void onStop(Observation.Context context) {
      spans.add(context);
    }

    @Override
    public boolean supportsContext(Observation.Context context) {
      return true;
    }
  }

  final SimpleMeterRegistry registry = new SimpleMeterRegistry();
  private final ObservationRegistry observations = ObservationRegistry.create();
  final Queue<Observation.Context> spans = new ConcurrentLinkedQueue<>();
  final Queue<String> spanEvents = new ConcurrentLinkedQueue<>();
  final Tally tally = new Tally();
  final Queue<Generation> taken = new ConcurrentLinkedQueue<>();
  final Queue<RuntimeException> refused = new ConcurrentLinkedQueue<>();
  FaultyEngine engine;

  /** Held, since its meters hold it not. */
  private final Generator generator;

  final GeneratorState state;
  final List<RecordedEvent> events;
  List<GenerationResult> results;

  /**
   * Runs it.
   *
   * @param folder for the recording
   */
  MeteredRun(Path folder) throws IOException, InterruptedException {
    observations.observationConfig().observationHandler(new Spans());
    try (TextModel text = ExampleModel.open();
        Recording recording = new Recording()) {
      for (String name : List.of("Generation", "GenerationStep", "Refusal", "Failure")) {
        recording.enable("org.autocircuit." + name);
      }
      recording.start();
      generator = start(text);
      new GeneratorMetrics(generator, "example").bindTo(registry);
      ask(generator, text);
      generator.close();
      state = generator.state();
      recording.stop();
      recording.dump(folder.resolve("events.jfr"));
      events = RecordingFile.readAllEvents(folder.resolve("events.jfr"));
    }
  }

  private Generator start(TextModel text) {
    engine = new FaultyEngine(NativeStepEngine.of(text.model()));
    TransformerConfig config = (TransformerConfig) text.model().config();
    return Generator.builder(text.model())
        .kvBytes(engine.sequenceBytes(config.nCtx(), true) * 19 / 10)
        .queue(4)
        .maxActive(6)
        .chunkTokens(5)
        .tokenizer(text.tokenizer())
        .listener(tally)
        .listener(new RequestMetrics(registry, "example"))
        .listener(new RequestObservations(observations, "example"))
        .build(
            engine, new RequestChecks(text.graph(), config, Set.copyOf(text.model().hookNames())));
  }

  private void ask(Generator generator, TextModel text) throws InterruptedException {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> generator.submit(GenerationRequest.of(new long[] {1 << 20})));
    List<Thread> threads = new ArrayList<>();
    for (int i = 0; i < THREADS; i++) {
      SplittableRandom random = new SplittableRandom(i);
      threads.add(
          new Thread(
              () -> {
                for (int n = 0; n < REQUESTS; n++) {
                  ask(generator, request(text, random), random);
                }
              }));
    }
    threads.forEach(Thread::start);
    for (Thread thread : threads) {
      thread.join();
    }
    oneOfEachKind(generator, text);
    for (Generation each : taken) {
      each.result().handle((result, thrown) -> null).join();
    }
    results = taken.stream().map(each -> each.ended().orElseThrow()).toList();
  }

  /** One after another, until each has ended as it can, whatever threads and faults came to. */
  private void oneOfEachKind(Generator generator, TextModel text) {
    GenerationRequest request = GenerationRequest.of(text.tokens(PROMPT)).withStop(Stop.after(8));
    GenerationRequest endless =
        request.withStop(Stop.after(1000)).withSampler(() -> (logits, step) -> 1);
    Map<FinishReason, GenerationRequest> kinds =
        Map.of(
            FinishReason.CONTEXT, endless,
            FinishReason.LENGTH, request.withStop(Stop.after(1)),
            FinishReason.GUARD, request.withGuard("blocks.1.hook_resid_post", values -> true),
            FinishReason.DEADLINE, request.withTimeLimit(Duration.ofNanos(1)),
            FinishReason.UNREAD, endless.withMaxUnread(1).withTimeLimit(Duration.ofMillis(100)),
            FinishReason.ERROR, request.withSampler(() -> MeteredRun::failing),
            FinishReason.CANCELLED, endless);
    kinds.forEach(
        (reason, each) -> {
          Generation generation;
          do {
            generation = generator.submit(each);
            taken.add(generation);
            if (reason == FinishReason.CANCELLED) {
              generation.close();
            }
            generation.result().handle((result, thrown) -> null).join();
          } while (generation.ended().orElseThrow().reason() != reason);
        });
  }

  /** Waits for most answers, and cancels some. */
  private void ask(Generator generator, GenerationRequest request, SplittableRandom random) {
    try {
      Generation generation = generator.submit(request);
      taken.add(generation);
      switch (random.nextInt(6)) {
        case 0 -> generation.close();
        case 1 -> {
          generation.result().handle((result, thrown) -> null).join();
          generation.close();
        }
        case 2, 3, 4 -> generation.result().handle((result, thrown) -> null).join();
        default -> {}
      }
    } catch (QueueFullException | DoesNotFitException e) {
      refused.add(e);
    }
  }

  private static GenerationRequest request(TextModel text, SplittableRandom random) {
    long[] tokens = text.tokens(PROMPT);
    Masks masks = Masks.of(text.graph(), random.doubles(text.graph().maskSize()).toArray());
    GenerationRequest request =
        GenerationRequest.of(tokens).withStop(Stop.after(random.nextInt(1, 9)));
    GenerationRequest resampled =
        request.withPatch(GenerationPatch.resample(tokens, masks, Donor.FOLLOWS));
    return switch (random.nextInt(9)) {
      case 0 -> request.withPatch(GenerationPatch.zero(masks));
      case 1 -> resampled;
      case 2 -> resampled.withStop(Stop.after(1000)); // fills the context, which does not fit twice
      case 3 -> request.withGuard("blocks.1.hook_resid_post", values -> true);
      case 4 -> request.withTimeLimit(Duration.ofNanos(1));
      case 5 -> request.withMaxUnread(1).withTimeLimit(Duration.ofMillis(100));
      case 6 -> request.withSampler(() -> MeteredRun::failing);
      case 7 -> request.withStop(Stop.after(1000));
      default -> request;
    };
  }

  /** A sampler that says what it should not. */
  private static int failing(double[] logits, int step) {
    if (step == 2) {
      throw new IllegalStateException("no token after " + PROMPT);
    }
    return step;
  }
}
