package org.autocircuit.generate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import io.micrometer.observation.Observation;
import io.micrometer.observation.ObservationHandler;
import io.micrometer.observation.ObservationRegistry;
import java.lang.ref.WeakReference;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.function.Consumer;
import java.util.logging.Level;
import org.autocircuit.LogRecords;
import org.autocircuit.metrics.GeneratorMetrics;
import org.autocircuit.metrics.RequestMetrics;
import org.autocircuit.metrics.RequestObservations;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Tests when listeners are told something, and what those of the package metrics hold on to. */
@Timeout(60)
class GenerationListenerTest {

  private static final GenerationRequest REQUEST =
      GenerationRequest.of(new long[] {1, 2}).withStop(Stop.after(2));

  /** Writes down what it is told of requests, after it has done something. */
  private static final class Told implements GenerationListener {
    final Queue<String> calls = new ConcurrentLinkedQueue<>();
    private final Consumer<Generation> onSubmit;

    Told(Consumer<Generation> onSubmit) {
      this.onSubmit = onSubmit;
    }

    @Override
    public void submitted(Generation generation) {
      onSubmit.accept(generation);
      calls.add("submitted");
    }

    @Override
    public void started(Generation generation) {
      calls.add("started");
    }

    @Override
    public void firstToken(Generation generation) {
      calls.add("first token");
    }

    @Override
    public void finished(Generation generation, FinishReason reason) {
      calls.add(reason.name());
    }
  }

  private static Generator start(GenerationListener... listeners) {
    Generator.Builder builder = GeneratorTest.builder();
    for (GenerationListener each : listeners) {
      builder.listener(each);
    }
    return builder.build(new HashEngine(), HashEngine.checks());
  }

  private static void sleep(Generation generation) {
    try {
      Thread.sleep(100);
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  @Test
  void nothingIsToldOfARequestBeforeItsSubmission() {
    Told told = new Told(GenerationListenerTest::sleep);
    try (Generator generator = start(told)) {
      generator.submit(REQUEST).result().join();
    }
    assertThat(told.calls).containsExactly("submitted", "started", "first token", "LENGTH");
  }

  @Test
  void aRequestThatIsSubmittedWhileTheGeneratorClosesEnds() {
    Generator[] generator = new Generator[1];
    Told told = new Told(request -> generator[0].close());
    generator[0] = start(told);
    assertThatIllegalStateException()
        .isThrownBy(() -> generator[0].submit(REQUEST))
        .withMessage("the generator is closed");
    assertThat(told.calls).containsExactly("submitted", "CANCELLED");
    assertThat(generator[0].state().waiting()).isZero();
  }

  @Test
  void whoeverSeesSomethingSeesItCounted() {
    Queue<GeneratorState> seen = new ConcurrentLinkedQueue<>();
    // Readers run on the generator's thread, as soon as there is something to see.
    Generator.Builder builder = GeneratorTest.builder().executor(Runnable::run);
    try (Generator running = builder.build(new HashEngine(), HashEngine.checks())) {
      Generation generation = running.submit(REQUEST);
      GeneratorTest.Subscriber reader =
          new GeneratorTest.Subscriber(1) {
            @Override
            public void onNext(GeneratedToken token) {
              super.onNext(token);
              assertThat(running.state().tokens()).isGreaterThanOrEqualTo(got.size());
              assertThat(running.state().steps()).isGreaterThanOrEqualTo(got.size());
              seen.add(running.state());
            }
          };
      generation.publisher().subscribe(reader);
      generation.result().thenAccept(result -> seen.add(running.state())).join();
      assertThat(reader.failure).isNull();
    }
    assertThat(seen).hasSize(3);
    assertThat(seen)
        .last()
        .satisfies(last -> assertThat(last.finished().get(FinishReason.LENGTH)).isEqualTo(1));
  }

  @Test
  void tokensWithWhichAForkBeginsAreNotItsOwn() {
    SimpleMeterRegistry registry = new SimpleMeterRegistry();
    try (Generator generator = start(new RequestMetrics(registry, "hash"))) {
      Generation whole = generator.submit(REQUEST.withStop(Stop.after(9)));
      whole.result().join();
      GenerationResult fork = whole.fork(7, Sampling.GREEDY).result().join();
      assertThat(fork.tokens()).hasSize(9);
      assertThat(fork.chosen()).isEqualTo(2);
      assertThat(whole.fork(9, Sampling.GREEDY).result().join().toFirstToken()).isEmpty();
      assertThat(generator.state().tokens()).isEqualTo(9 + 2);
    } // which ends its thread, that tells listeners
    assertThat(
            registry
                .get("gen_ai.client.token.usage")
                .tag("gen_ai.token.type", "output")
                .summary()
                .totalAmount())
        .isEqualTo(9 + 2);
  }

  @Test
  void aListenerThatFailsKeepsNothingFromTheOthers() {
    Told first = new Told(request -> {});
    Told last = new Told(request -> {});
    Told failing =
        new Told(
            request -> {
              throw new IllegalStateException("a listener, says the test");
            });
    try (LogRecords log = new LogRecords("org.autocircuit.generate");
        Generator generator = start(first, failing, last)) {
      generator.submit(REQUEST).result().join();
      log.assertOne(Level.WARNING, "a listener of a generator failed");
    }
    assertThat(first.calls).containsExactly("submitted", "started", "first token", "LENGTH");
    assertThat(last.calls).containsExactlyElementsOf(first.calls);
  }

  @Test
  void theParentIsWhatIsCurrentAtSubmission() {
    ObservationRegistry registry = ObservationRegistry.create();
    Queue<Observation.ContextView> parents = new ConcurrentLinkedQueue<>();
    registry
        .observationConfig()
        .observationHandler(
            new ObservationHandler<>() {
              @Override
              public void onStop(Observation.Context context) {
                if (context.getName().equals("autocircuit.generation")) {
                  assertThat(context.getContextualName()).isEqualTo("text_completion hash");
                  parents.add(context.getParentObservation().getContextView());
                }
              }

              @Override
              public boolean supportsContext(Observation.Context context) {
                return true;
              }
            });
    RequestObservations observations = new RequestObservations(registry, "hash");
    Observation outer = Observation.start("outer", registry);
    try (Generator generator = start(observations)) {
      outer.scoped(
          () -> {
            Generation generation = generator.submit(REQUEST.withMaxUnread(1));
            assertThat(observations.of(generation)).isPresent();
            generation.iterator().forEachRemaining(token -> {});
            generation.close();
          });
    }
    assertThat(parents).containsExactly(outer.getContextView());
  }

  @Test
  void withoutARegistryNothingIsKept() {
    RequestObservations observations = new RequestObservations(ObservationRegistry.NOOP, "hash");
    try (Generator generator = start(observations);
        Generation generation = generator.submit(REQUEST.withMaxUnread(1))) {
      assertThat(observations.of(generation)).isEmpty();
    }
  }

  @Test
  void metersDoNotKeepAGenerator() throws InterruptedException {
    SimpleMeterRegistry registry = new SimpleMeterRegistry();
    WeakReference<Generator> generator = bound(registry);
    for (int i = 0; generator.get() != null && i < 100; i++) {
      System.gc();
      Thread.sleep(10);
    }
    assertThat(generator.get()).isNull();
    assertThat(registry.get("autocircuit.generator.waiting").gauge().value()).isNaN();
  }

  private static WeakReference<Generator> bound(SimpleMeterRegistry registry) {
    try (Generator generator = start()) {
      new GeneratorMetrics(generator, "hash").bindTo(registry);
      assertThat(registry.get("autocircuit.generator.waiting").gauge().value()).isZero();
      return new WeakReference<>(generator);
    }
  }
}
