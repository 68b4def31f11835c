package org.autocircuit.generate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.autocircuit.exception.DoesNotFitException;
import org.autocircuit.exception.NativeException;
import org.autocircuit.exception.QueueFullException;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.patch.Masks;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Checks that a request that goes wrong leaves the others alone, and nothing behind. */
@Timeout(value = 120, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class GeneratorFaultsTest {

  private static final int POISON = 30;
  private static final Masks MASKS = Masks.uniform(HashEngine.GRAPH, 1);

  private final HashEngine engine = new HashEngine();
  private final CountDownLatch go = new CountDownLatch(1);

  private Generator start(Generator.Builder builder) {
    return builder.build(engine, HashEngine.checks());
  }

  private static GenerationRequest request(long... prompt) {
    return GenerationRequest.of(prompt).withStop(Stop.after(20));
  }

  private static int[] alone(GenerationRequest request) {
    try (Generator generator =
        GeneratorTest.builder().build(new HashEngine(), HashEngine.checks())) {
      return GeneratorTest.ids(generator.submit(request));
    }
  }

  private static FinishReason reason(Generation generation) {
    return generation.result().join().reason();
  }

  /** The first step, and all after it, wait until {@link #go}. */
  private void hold() {
    engine.before =
        chunks -> {
          try {
            go.await();
          } catch (InterruptedException e) {
            throw new IllegalStateException(e);
          }
        };
  }

  @AfterEach
  void nothingIsLeft() {
    assertThat(engine.openHandles()).isZero();
    assertThat(engine.isClosed()).isTrue();
  }

  @Test
  void aRowThatFailsFailsAlone() {
    NativeException failure = new NativeException("out of memory, says the test");
    engine.before =
        chunks -> {
          if (chunks.stream().anyMatch(chunk -> chunk.tokens()[0] == POISON)) {
            throw failure;
          }
        };
    // Hashes of this prompt never choose the poison within twenty tokens.
    GenerationRequest good =
        request(1, 2)
            .withPatch(GenerationPatch.resample(new long[] {3, 4}, MASKS, Donor.FOLLOWS))
            .withSampler(() -> (logits, step) -> Exponentials.argMax(logits) % POISON);
    try (Generator generator = start(GeneratorTest.builder())) {
      List<Generation> running = new ArrayList<>();
      for (int i = 0; i < 6; i++) {
        running.add(generator.submit(i == 3 ? request(POISON, 1) : good));
      }
      int[] expected = alone(good);
      for (int i = 0; i < 6; i++) {
        Generation each = running.get(i);
        if (i == 3) {
          assertThatThrownBy(() -> each.forEach(token -> {}))
              .isInstanceOf(CompletionException.class)
              .hasCause(failure);
          assertThatThrownBy(() -> each.result().join()).hasCause(failure);
          assertThat(each.finishReason()).hasValue(FinishReason.ERROR);
        } else {
          assertThat(GeneratorTest.ids(each)).isEqualTo(expected);
        }
      }
      assertThat(generator.state().failedSteps()).isPositive();
    }
  }

  @Test
  void stepsThatFailAtTimesChangeNothing() {
    SplittableRandom random = new SplittableRandom(6);
    engine.before =
        chunks -> {
          if (chunks.size() > 2 && random.nextInt(3) == 0) {
            throw new NativeException("at times");
          }
        };
    try (Generator generator = start(GeneratorTest.builder().chunkTokens(3))) {
      List<Generation> running = new ArrayList<>();
      for (int i = 0; i < 20; i++) {
        running.add(generator.submit(patched(i)));
      }
      for (int i = 0; i < 20; i++) {
        assertThat(GeneratorTest.ids(running.get(i))).isEqualTo(alone(patched(i)));
      }
      assertThat(generator.state().failedSteps()).isPositive();
    }
  }

  private static GenerationRequest patched(int i) {
    GenerationPatch patch =
        GenerationPatch.resample(
            new long[] {1, 2, 3, 4, i}, MASKS, i % 2 == 0 ? Donor.FOLLOWS : Donor.FREE);
    return request(i, 5, 6, 7, 8).withPatch(patch);
  }

  @Test
  void samplersGuardsAndListenersMayFail() {
    GenerationListener listener =
        new GenerationListener() {
          @Override
          public void stepped(StepReport step) {
            throw new IllegalStateException("a listener, says the test");
          }
        };
    try (Generator generator = start(GeneratorTest.builder().listener(listener))) {
      Generation sampler =
          generator.submit(
              request(1)
                  .withSampler(
                      () ->
                          (logits, step) -> {
                            if (step == 5) {
                              throw new AssertionError("a sampler");
                            }
                            return step;
                          }));
      Generation range =
          generator.submit(request(1).withSampler(() -> (logits, step) -> logits.length));
      Generation none = generator.submit(request(1).withSampler(() -> null));
      Generation guard =
          generator.submit(
              request(1)
                  .withGuard(
                      HashEngine.STREAM,
                      read -> {
                        throw new IllegalStateException("a guard");
                      }));
      Generation good = generator.submit(request(1));
      assertThat(GeneratorTest.ids(good)).isEqualTo(alone(request(1)));
      assertThatThrownBy(() -> sampler.result().join()).hasRootCauseMessage("a sampler");
      assertThat(sampler.tokens()).hasSize(5);
      assertThatThrownBy(() -> range.result().join())
          .hasRootCauseMessage("sampler: expected a token from 0 to 30, got 31");
      assertThatThrownBy(() -> none.result().join())
          .hasRootCauseInstanceOf(NullPointerException.class);
      assertThatThrownBy(() -> guard.result().join()).hasRootCauseMessage("a guard");
      assertThat(generator.state().finished()).containsEntry(FinishReason.ERROR, 4L);
    }
  }

  @Test
  void cancelsAtRandomMomentsLeaveNothingAndChangeNobody() {
    SplittableRandom random = new SplittableRandom(7);
    int[] expected = alone(patched(1));
    try (Generator generator = start(GeneratorTest.builder().maxActive(6).chunkTokens(2))) {
      List<Generation> kept = new ArrayList<>();
      List<Generation> open = new ArrayList<>();
      for (int i = 0; i < 3000; i++) {
        try {
          Generation generation = generator.submit(patched(1));
          (random.nextInt(4) == 0 ? kept : open).add(generation);
        } catch (QueueFullException e) {
          LockSupport.parkNanos(1000);
        }
        while (open.size() > random.nextInt(40)) {
          open.remove(random.nextInt(open.size())).close();
        }
      }
      open.forEach(Generation::close);
      for (Generation each : kept) {
        assertThat(GeneratorTest.ids(each)).isEqualTo(expected);
      }
      assertThat(kept).hasSizeGreaterThan(50);
      assertThat(generator.state().finished().get(FinishReason.CANCELLED)).isPositive();
    }
    assertThat(engine.openHandles()).isZero();
  }

  @Test
  void aFullQueueRefusesAtOnce() throws InterruptedException {
    hold();
    AtomicInteger refused = new AtomicInteger();
    GenerationListener listener =
        new GenerationListener() {
          @Override
          public void refused(GenerationRequest request, RuntimeException reason) {
            refused.incrementAndGet();
          }
        };
    try (Generator generator =
        start(GeneratorTest.builder().maxActive(1).queue(2).listener(listener))) {
      Generation first = generator.submit(request(1));
      while (generator.state().active() == 0) {
        Thread.sleep(1);
      }
      Generation second = generator.submit(request(2));
      Generation third = generator.submit(request(3));
      long begin = System.nanoTime();
      assertThatThrownBy(() -> generator.submit(request(4)))
          .isInstanceOf(QueueFullException.class)
          .hasMessage("2 requests wait, as many as may");
      assertThat(System.nanoTime() - begin).isLessThan(TimeUnit.SECONDS.toNanos(1));
      second.close();
      assertThat(second.finishReason()).hasValue(FinishReason.CANCELLED);
      Generation fourth = generator.submit(request(4));
      assertThat(generator.state().waiting()).isEqualTo(2);
      assertThat(generator.state().refusedFull()).isEqualTo(1);
      assertThat(refused.get()).isEqualTo(1);
      go.countDown();
      for (Generation each : List.of(first, third, fourth)) {
        assertThat(reason(each)).isEqualTo(FinishReason.LENGTH);
      }
    }
  }

  @Test
  void memoryIsSetAsideForAllThatRuns() {
    AtomicInteger most = new AtomicInteger();
    AtomicReference<Generator> running = new AtomicReference<>();
    GenerationListener listener =
        new GenerationListener() {
          @Override
          public void stepped(StepReport step) {
            most.accumulateAndGet(running.get().state().active(), Math::max);
            assertThat(running.get().state().kvReserved()).isLessThanOrEqualTo(19_000);
          }
        };
    hold();
    try (Generator generator = start(GeneratorTest.builder().kvBytes(19_000).listener(listener))) {
      running.set(generator);
      List<Generation> all = new ArrayList<>();
      for (int i = 0; i < 10; i++) {
        all.add(generator.submit(patched(i)));
      }
      go.countDown();
      all.forEach(each -> assertThat(reason(each)).isEqualTo(FinishReason.LENGTH));
      assertThat(most.get()).isEqualTo(2);
      assertThat(generator.plan(patched(1))).isEqualTo(new GenerationPlan(7200, 10, 2400));
      assertThatThrownBy(
              () ->
                  generator.submit(
                      request(new long[64])
                          .withPatch(GenerationPatch.resample(new long[64], MASKS, Donor.FOLLOWS))
                          .withStop(Stop.after(1000))))
          .isInstanceOf(DoesNotFitException.class)
          .hasMessageContaining("needs 19210 bytes")
          .hasMessageContaining("there are 19000");
    }
  }

  @Test
  void theTimeInTheQueueCounts() throws InterruptedException {
    hold();
    try (Generator generator = start(GeneratorTest.builder().maxActive(1))) {
      Generation first = generator.submit(request(1));
      Generation late = generator.submit(request(2).withTimeLimit(Duration.ofMillis(20)));
      Generation inTime = generator.submit(request(3).withTimeLimit(Duration.ofHours(1)));
      Thread.sleep(50);
      go.countDown();
      assertThat(reason(late)).isEqualTo(FinishReason.DEADLINE);
      assertThat(late.tokens()).isEmpty();
      assertThat(reason(first)).isEqualTo(FinishReason.LENGTH);
      assertThat(reason(inTime)).isEqualTo(FinishReason.LENGTH);
      engine.blockMillis = 5;
      Generation running =
          generator.submit(
              request(4).withStop(Stop.after(60)).withTimeLimit(Duration.ofMillis(100)));
      assertThat(reason(running)).isEqualTo(FinishReason.DEADLINE);
      assertThat(running.tokens()).hasSizeBetween(1, 20);
    }
  }

  @Test
  void closingCancelsAllThatRunsAndWaits() throws InterruptedException {
    engine.blockMillis = 20;
    Generator generator = start(GeneratorTest.builder().maxActive(2));
    List<Generation> all = new ArrayList<>();
    for (int i = 0; i < 5; i++) {
      all.add(generator.submit(request(i)));
    }
    all.get(0).iterator().next();
    generator.close();
    generator.close();
    all.forEach(each -> assertThat(each.finishReason()).hasValue(FinishReason.CANCELLED));
    all.forEach(each -> assertThat(reason(each)).isEqualTo(FinishReason.CANCELLED));
    assertThat(all.get(4).iterator().hasNext()).isFalse();
    assertThatIllegalStateException()
        .isThrownBy(() -> generator.submit(request(1)))
        .withMessage("the generator is closed");
  }

  @Test
  void aCancelStopsAStepThatNobodyElseWaitsFor() throws InterruptedException {
    engine.blockMillis = 100;
    try (Generator generator = start(GeneratorTest.builder())) {
      Generation only = generator.submit(request(1));
      while (generator.state().active() == 0) {
        Thread.sleep(1);
      }
      only.close();
      assertThat(reason(only)).isEqualTo(FinishReason.CANCELLED);
      assertThat(engine.tokensRun()).isZero();
      Generation stays = generator.submit(request(2).withStop(Stop.after(2)));
      Generation goes = generator.submit(request(1));
      while (generator.state().active() < 2) {
        Thread.sleep(1);
      }
      assertThat(goes.result().cancel(false)).isTrue();
      assertThat(reason(stays)).isEqualTo(FinishReason.LENGTH);
      while (goes.finishReason().isEmpty()) { // the last step may have been of both
        Thread.sleep(1);
      }
      assertThat(goes.finishReason()).hasValue(FinishReason.CANCELLED);
      assertThat(engine.tokensRun()).isLessThanOrEqualTo(3);
    }
  }

  @Test
  void whoDoesNotReadRestsAndHoldsUpNobody() throws InterruptedException {
    try (Generator generator = start(GeneratorTest.builder())) {
      Generation slow =
          generator.submit(request(1).withMaxUnread(3).withTimeLimit(Duration.ofMillis(400)));
      Generation slower = generator.submit(request(1).withMaxUnread(3));
      assertThat(reason(generator.submit(request(2)))).isEqualTo(FinishReason.LENGTH);
      while (slow.tokens().size() < 3 || slower.tokens().size() < 3) {
        Thread.sleep(1);
      }
      Thread.sleep(30);
      assertThat(slow.tokens()).hasSize(3);
      List<GeneratedToken> read = new ArrayList<>();
      slower.forEach(read::add);
      assertThat(read.stream().mapToInt(GeneratedToken::id).toArray()).isEqualTo(alone(request(1)));
      assertThat(reason(slow)).isEqualTo(FinishReason.UNREAD);
      assertThat(slow.tokens()).hasSize(3);
    }
  }

  @Test
  void aReaderMayBeInterrupted() throws InterruptedException {
    hold();
    try (Generator generator = start(GeneratorTest.builder())) {
      Generation generation = generator.submit(request(1));
      AtomicReference<Throwable> thrown = new AtomicReference<>();
      Thread reader =
          new Thread(
              () -> {
                try {
                  generation.iterator().next();
                } catch (StoppedException e) {
                  thrown.set(Thread.currentThread().isInterrupted() ? e : null);
                }
              });
      reader.start();
      reader.interrupt();
      reader.join();
      assertThat(thrown.get()).hasMessage("stopped: the thread was interrupted");
      go.countDown();
      assertThat(reason(generation)).isEqualTo(FinishReason.LENGTH);
    }
  }
}
