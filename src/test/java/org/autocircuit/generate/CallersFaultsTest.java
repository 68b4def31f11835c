package org.autocircuit.generate;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Executor;
import java.util.concurrent.Flow;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Checks that code of callers that throws or interrupts harms nobody else. */
@Timeout(value = 60, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class CallersFaultsTest {

  private final HashEngine engine = new HashEngine();

  private Generator start(Generator.Builder builder) {
    return builder.build(engine, HashEngine.checks());
  }

  private static GenerationRequest request() {
    return GenerationRequest.of(new long[] {1, 2}).withStop(Stop.after(8));
  }

  @AfterEach
  void nothingIsLeft() {
    assertThat(engine.openHandles()).isZero();
    assertThat(engine.isClosed()).isTrue();
  }

  private static void answers(Generator generator) {
    assertThat(generator.submit(request()).result().join().tokens()).hasSize(8);
    assertThat(generator.state().kvReserved()).isZero();
  }

  /** Throws what it does not declare, as code in other languages of the JVM does. */
  @SuppressWarnings("unchecked")
  private static <T extends Throwable> TokenSampler undeclared() throws T {
    throw (T) new IOException("a grammar is missing");
  }

  @Test
  void aMakerOfSamplersThatThrowsWhatItDoesNotDeclareFailsAlone() {
    try (Generator generator = start(GeneratorTest.builder())) {
      Generation good = generator.submit(request());
      Generation bad =
          generator.submit(request().withSampler(CallersFaultsTest::<RuntimeException>undeclared));
      assertThat(bad.result().exceptionally(failure -> null).join()).isNull();
      assertThat(bad.finishReason()).hasValue(FinishReason.ERROR);
      assertThat(good.result().join().tokens()).hasSize(8);
      answers(generator);
    }
  }

  /** Fails whatever it is told. */
  private static final class Failing implements GenerationListener {
    @Override
    public void submitted(Generation generation) {
      throw new AssertionError("submitted");
    }

    @Override
    public void started(Generation generation) {
      throw new AssertionError("started");
    }

    @Override
    public void firstToken(Generation generation) {
      throw new AssertionError("firstToken");
    }

    @Override
    public void finished(Generation generation, FinishReason reason) {
      throw new AssertionError("finished");
    }

    @Override
    public void stepped(StepReport step) {
      throw new AssertionError("stepped");
    }
  }

  @Test
  void listenersThatThrowErrorsHarmNobody() {
    try (Generator generator = start(GeneratorTest.builder().queue(2).listener(new Failing()))) {
      for (int i = 0; i < 5; i++) {
        answers(generator);
      }
    }
  }

  @Test
  void executorsThatThrowCostReadersTheirResultsOnly() {
    List<Throwable> thrown = new ArrayList<>();
    Executor executor =
        action -> {
          thrown.add(new IllegalStateException());
          throw new IllegalStateException("an executor");
        };
    try (Generator generator = start(GeneratorTest.builder().executor(executor))) {
      for (int i = 0; i < 3; i++) {
        try (Generation generation = generator.submit(request())) {
          int tokens = 0;
          for (GeneratedToken token : generation) {
            tokens += token.id() >= 0 ? 1 : 0;
          }
          assertThat(tokens).isEqualTo(8);
        }
      }
      assertThat(thrown).isNotEmpty();
    }
  }

  @Test
  void aSubscriberThatThrowsEndsItsSubscriptionOnly() {
    try (Generator generator = start(GeneratorTest.builder().executor(Runnable::run))) {
      Generation generation = generator.submit(request());
      generation
          .publisher()
          .subscribe(
              new Flow.Subscriber<>() {
                @Override
                public void onSubscribe(Flow.Subscription subscription) {
                  subscription.request(Long.MAX_VALUE);
                }

                @Override
                public void onNext(GeneratedToken token) {
                  throw new IllegalStateException("a subscriber");
                }

                @Override
                public void onError(Throwable failure) {}

                @Override
                public void onComplete() {}
              });
      assertThat(generation.result().join().tokens()).hasSize(8);
      answers(generator);
    }
  }

  @Test
  void aSamplerThatInterruptsItsThreadEndsNoGenerator() {
    GenerationRequest interrupting =
        request()
            .withSampler(
                () ->
                    (logits, step) -> {
                      Thread.currentThread().interrupt();
                      return 1;
                    });
    try (Generator generator = start(GeneratorTest.builder())) {
      assertThat(generator.submit(interrupting).result().join().tokens()).hasSize(8);
      answers(generator);
    }
  }
}
