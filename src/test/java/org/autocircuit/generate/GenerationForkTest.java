package org.autocircuit.generate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Queue;
import java.util.SplittableRandom;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.function.Consumer;
import org.autocircuit.exception.NativeException;
import org.autocircuit.exception.QueueFullException;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Several answers to one prompt, and requests with one corrupt prompt, share what is the same. */
@Timeout(value = 120, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class GenerationForkTest {

  private static final Masks MASKS = Masks.uniform(HashEngine.GRAPH, 0.5);
  private static final Sampling SAMPLING = Sampling.RANDOM.withSeed(8);
  private static final int PROMPT = 12;
  private static final int ANSWER = 9;

  /** The last token of an answer is not computed. */
  private static final int END = PROMPT + ANSWER - 1;

  private final HashEngine engine = new HashEngine();
  private final Queue<StepReport> steps = new ConcurrentLinkedQueue<>();
  private final CountDownLatch go = new CountDownLatch(1);

  private Generator start(Generator.Builder builder) {
    GenerationListener listener =
        new GenerationListener() {
          @Override
          public void stepped(StepReport step) {
            steps.add(step);
          }
        };
    return builder.listener(listener).build(engine, HashEngine.checks());
  }

  @AfterEach
  void nothingIsLeft() {
    assertThat(engine.openHandles()).isZero();
    assertThat(engine.isClosed()).isTrue();
  }

  /** All steps wait until {@link #go}. */
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

  private static long[] tokens(long seed) {
    return GeneratorTest.tokens(new SplittableRandom(seed), PROMPT);
  }

  private static GenerationRequest request(GenerationPatch patch) {
    return GenerationRequest.of(tokens(1))
        .withPatch(patch)
        .withSampling(SAMPLING)
        .withStop(Stop.after(ANSWER));
  }

  private static int[] alone(GenerationRequest request) {
    try (Generator generator =
        GeneratorTest.builder().build(new HashEngine(), HashEngine.checks())) {
      return GeneratorTest.ids(generator.submit(request));
    }
  }

  private static GenerationPatch resample(Donor donor) {
    return GenerationPatch.resample(tokens(2), MASKS, donor);
  }

  /** Ways to patch, in which different things are shared. */
  @SuppressWarnings("ImmutableEnumChecker") // patches are immutable
  private enum Kind {
    PLAIN(GenerationPatch.NONE, 0),
    ZERO(GenerationPatch.zero(MASKS), 0),
    FOLLOWS(resample(Donor.FOLLOWS), END),
    FREE(resample(Donor.FREE), END),
    FREE_PROMPT(resample(Donor.FREE).at(Span.PROMPT), PROMPT),
    FOLLOWS_PROMPT(resample(Donor.FOLLOWS).at(Span.PROMPT), PROMPT),
    FREE_ANSWER(resample(Donor.FREE).at(Span.ANSWER), END),
    FREE_MIDDLE(resample(Donor.FREE).at(new Span(5, PROMPT + 3)), PROMPT + 3),
    SWITCHED(
        resample(Donor.FOLLOWS).switchedTo(Masks.uniform(HashEngine.GRAPH, 0.25), PROMPT + 2), END);

    final GenerationPatch patch;

    /** The position behind the last one that its donor computes. */
    final int donorEnd;

    Kind(GenerationPatch patch, int donorEnd) {
      this.patch = patch;
      this.donorEnd = donorEnd;
    }

    /** The tokens of so many answers whose prompt, but for its last token, is read once. */
    int tokens(int answers) {
      int shared = PROMPT - 1;
      return shared
          + answers * (END - shared)
          + Math.min(donorEnd, shared)
          + answers * Math.max(donorEnd - shared, 0);
    }
  }

  @ParameterizedTest
  @EnumSource
  void severalAnswersAreThoseOfSeparateRequestsAndReadThePromptOnce(Kind kind) {
    GenerationRequest request = request(kind.patch);
    try (Generator generator = start(GeneratorTest.builder().chunkTokens(5))) {
      List<Generation> answers = generator.submit(request, 4);
      for (int i = 0; i < 4; i++) {
        assertThat(GeneratorTest.ids(answers.get(i)))
            .as("answer %s", i)
            .isEqualTo(alone(request.withSampling(SAMPLING.withSeed(8 + i))));
      }
      assertThat(generator.state().finished()).containsEntry(FinishReason.LENGTH, 4L);
    }
    assertThat(engine.tokensRun()).isEqualTo(kind.tokens(4));
  }

  @ParameterizedTest
  @EnumSource
  void aForkGoesOnAsARequestThatHappensToBeginSo(Kind kind) {
    GenerationRequest request = request(kind.patch);
    Sampling other = SAMPLING.withSeed(123);
    try (Generator generator = start(GeneratorTest.builder().chunkTokens(5))) {
      Generation ended = generator.submit(request);
      ended.result().join();
      Generation far = generator.submit(request.withMaxUnread(ANSWER - 1));
      while (far.tokens().size() < ANSWER - 1) {
        Thread.onSpinWait();
      }
      for (int count = 0; count < ANSWER - 1; count++) {
        int[] expected = alone(replayed(request, count, other));
        Generation running = generator.submit(request.withMaxUnread(count + 1));
        Generation late = ended.fork(count, other);
        Generation back = far.fork(count, other);
        back.forEach(token -> {});
        while (running.tokens().size() <= count) {
          Thread.onSpinWait(); // it rests then
        }
        int before = engine.forks.get();
        Generation fork = running.fork(count, other);
        assertThat(fork.tokens().subList(0, count)).isEqualTo(running.tokens().subList(0, count));
        fork.forEach(token -> {}); // it rests, too, unless it is read
        assertThat(GeneratorTest.ids(fork)).as("behind %s", count).isEqualTo(expected);
        assertThat(engine.forks.get()).as("forks behind %s", count).isGreaterThan(before);
        assertThat(GeneratorTest.ids(late)).as("late, behind %s", count).isEqualTo(expected);
        assertThat(GeneratorTest.ids(back)).as("back, behind %s", count).isEqualTo(expected);
        running.close();
      }
    }
  }

  /** A request with the first tokens of another one, and with those of its donor. */
  private static GenerationRequest replayed(GenerationRequest request, int count, Sampling other) {
    return request.withSampler(
        () -> {
          TokenSampler first = request.sampling().sampler();
          TokenSampler then = other.sampler();
          return (logits, step) -> (step < count ? first : then).next(logits, step);
        });
  }

  @Test
  void masksThatAreDrawnAreThoseOfEachAnswer() {
    GenerationRequest request =
        request(GenerationPatch.zero(MASKS).withMaskFn(MaskFn.HARD_CONCRETE));
    try (Generator generator = start(GeneratorTest.builder())) {
      List<Generation> answers = generator.submit(request, 2);
      assertThat(GeneratorTest.ids(answers.get(1)))
          .isEqualTo(alone(request.withSampling(SAMPLING.withSeed(9))));
    }
    assertThat(engine.forks.get()).isZero();
  }

  @Test
  void aForkOfAnEndIsThatEnd() {
    int[] ids = alone(request(GenerationPatch.NONE));
    GenerationRequest stopped =
        request(GenerationPatch.NONE).withStop(Stop.after(ANSWER).atTokens(ids[4]));
    try (Generator generator = start(GeneratorTest.builder())) {
      for (GenerationRequest each : List.of(request(GenerationPatch.NONE), stopped)) {
        Generation whole = generator.submit(each);
        int count = GeneratorTest.ids(whole).length;
        Generation fork = whole.fork(count, Sampling.GREEDY);
        assertThat(GeneratorTest.ids(fork)).isEqualTo(GeneratorTest.ids(whole));
        assertThat(fork.finishReason()).isEqualTo(whole.finishReason());
        assertThatIllegalArgumentException()
            .isThrownBy(() -> whole.fork(count + 1, Sampling.GREEDY))
            .withMessage(
                "count: expected 0 to %s tokens, as many as have come, got %s"
                    .formatted(count, count + 1));
      }
      assertThat(generator.state().kvReserved()).isZero();
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 5, 64})
  void requestsWithTheSameDonorRunItOnce(int chunkTokens) {
    List<GenerationRequest> requests = new ArrayList<>();
    for (int i = 0; i < 4; i++) {
      requests.add(
          GenerationRequest.of(tokens(10 + i))
              .withPatch(resample(Donor.FREE))
              .withStop(Stop.after(ANSWER)));
    }
    runTogether(requests, chunkTokens);
    assertThat(steps).allSatisfy(step -> assertThat(step.donors()).isEqualTo(1));
  }

  @Test
  void donorsPartWhereTheirTokensDo() {
    List<GenerationRequest> requests = new ArrayList<>();
    for (int i = 0; i < 4; i++) {
      requests.add(
          GenerationRequest.of(tokens(10 + i))
              .withPatch(resample(i % 2 == 0 ? Donor.FOLLOWS : Donor.FREE))
              .withStop(Stop.after(ANSWER)));
    }
    runTogether(requests, 5);
    assertThat(steps).first().extracting(StepReport::donors).isEqualTo(1);
    assertThat(steps).anySatisfy(step -> assertThat(step.donors()).isEqualTo(3));
  }

  @Test
  void donorsPartWhereOneRests() {
    GenerationRequest request =
        GenerationRequest.of(tokens(1))
            .withPatch(resample(Donor.FREE))
            .withStop(Stop.after(ANSWER));
    runTogether(List.of(request.withMaxUnread(2), request, request.withMaxUnread(4)), 64);
    assertThat(engine.forks.get()).isPositive();
  }

  @Test
  void stepsThatFailAtTimesPartThemOnly() {
    SplittableRandom random = new SplittableRandom(6);
    List<GenerationRequest> requests = new ArrayList<>();
    for (int i = 0; i < 8; i++) {
      requests.add(
          request(resample(i % 3 == 0 ? Donor.FOLLOWS : Donor.FREE))
              .withSampling(SAMPLING.withSeed(i / 3)));
    }
    runTogether(
        requests,
        3,
        chunks -> {
          if (chunks.size() > 2 && random.nextInt(3) == 0) {
            throw new NativeException("at times");
          }
        });
    assertThat(engine.forks.get()).isPositive();
  }

  private void runTogether(List<GenerationRequest> requests, int chunkTokens) {
    runTogether(requests, chunkTokens, chunks -> {});
  }

  /** All begin in the same step, and get what they get alone. */
  private void runTogether(
      List<GenerationRequest> requests, int chunkTokens, Consumer<List<StepEngine.Chunk>> before) {
    hold();
    try (Generator generator = start(GeneratorTest.builder().chunkTokens(chunkTokens))) {
      Generation first = generator.submit(GenerationRequest.of(new long[] {1}));
      while (generator.state().active() == 0) {
        Thread.onSpinWait();
      }
      List<Generation> running = requests.stream().map(generator::submit).toList();
      first.close(); // its step is stopped, and then all begin
      engine.before = before;
      go.countDown();
      first.result().join();
      for (int i = 0; i < requests.size(); i++) {
        running.get(i).forEach(token -> {});
        assertThat(GeneratorTest.ids(running.get(i)))
            .as("request %s", i)
            .isEqualTo(alone(requests.get(i).withMaxUnread(Integer.MAX_VALUE)));
      }
    }
  }

  @Test
  void anAnswerThatFindsNoMemoryForItsForkFailsAlone() {
    NativeException failure = new NativeException("out of memory, says the test");
    engine.beforeFork =
        () -> {
          if (engine.forks.get() == 1) {
            engine.forks.incrementAndGet();
            throw failure;
          }
        };
    GenerationRequest request = request(resample(Donor.FOLLOWS));
    try (Generator generator = start(GeneratorTest.builder())) {
      List<Generation> answers = generator.submit(request, 3);
      long failed = 0;
      for (int i = 0; i < 3; i++) {
        Generation each = answers.get(i);
        if (each.result().handle((result, thrown) -> thrown == null).join()) {
          assertThat(GeneratorTest.ids(each))
              .isEqualTo(alone(request.withSampling(SAMPLING.withSeed(8 + i))));
        } else {
          assertThatThrownBy(() -> each.result().join()).hasCause(failure);
          failed++;
        }
      }
      assertThat(failed).isEqualTo(1);
      assertThat(generator.state().kvReserved()).isZero();
    }
  }

  @Test
  void allAnswersAreTakenOrNone() {
    hold();
    GenerationRequest request = request(GenerationPatch.NONE);
    try (Generator generator = start(GeneratorTest.builder().queue(4).maxActive(1))) {
      generator.submit(request);
      while (generator.state().active() == 0) {
        Thread.onSpinWait();
      }
      generator.submit(request, 2);
      assertThatThrownBy(() -> generator.submit(request, 3))
          .isInstanceOf(QueueFullException.class)
          .hasMessage("2 requests wait, of at most 4, and 3 come");
      assertThat(generator.state().waiting()).isEqualTo(2);
      assertThat(generator.state().refusedFull()).isEqualTo(1);
      assertThatIllegalArgumentException()
          .isThrownBy(() -> generator.submit(request, 5))
          .withMessage("answers: expected 1 to 4, as many as may wait, got 5");
      List<Generation> last = generator.submit(request, 2);
      go.countDown();
      assertThat(GeneratorTest.ids(last.get(1)))
          .isEqualTo(alone(request.withSampling(SAMPLING.withSeed(9))));
    }
  }

  @Test
  void cancelledParentsLeaveTheirForks() {
    GenerationRequest request = request(resample(Donor.FOLLOWS).at(Span.PROMPT));
    hold();
    try (Generator generator = start(GeneratorTest.builder().chunkTokens(2))) {
      List<Generation> answers = generator.submit(request, 3);
      answers.get(0).close();
      go.countDown();
      assertThat(GeneratorTest.ids(answers.get(1)))
          .isEqualTo(alone(request.withSampling(SAMPLING.withSeed(9))));
      assertThat(GeneratorTest.ids(answers.get(2)))
          .isEqualTo(alone(request.withSampling(SAMPLING.withSeed(10))));
    }
  }

  @Test
  void theMostProbableTokensComeInOrder() {
    GenerationRequest request = request(GenerationPatch.NONE);
    try (Generator generator = start(GeneratorTest.builder())) {
      Generation three = generator.submit(request.withLogProbs(3));
      Generation all = generator.submit(request.withLogProbs(1000));
      assertThat(GeneratorTest.ids(three)).isEqualTo(GeneratorTest.ids(all));
      for (int i = 0; i < ANSWER; i++) {
        List<TokenLogProb> every = all.logProbs(i);
        assertThat(every).hasSize(HashEngine.VOCABULARY);
        assertThat(three.logProbs(i)).isEqualTo(every.subList(0, 3));
        double[] values = every.stream().mapToDouble(TokenLogProb::logProb).toArray();
        assertThat(Arrays.stream(values).map(StrictMath::exp).sum()).isCloseTo(1, within(1e-9));
        assertThat(values).isSortedAccordingTo((a, b) -> Double.compare(b, a));
        GeneratedToken token = all.tokens().get(i);
        assertThat(every).contains(new TokenLogProb(token.id(), token.logProb()));
      }
      assertThat(generator.submit(request).result().thenApply(r -> r.tokens().size()).join())
          .isEqualTo(ANSWER);
    }
    double[] ties = {1, 2, 2, 0, 2};
    assertThat(TokenLogProb.best(ties, 2, 0)).extracting(TokenLogProb::id).containsExactly(1, 2);
    assertThat(TokenLogProb.best(ties, 0, 0)).isEmpty();
  }
}
