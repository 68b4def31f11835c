package org.autocircuit.generate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Flow;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import org.autocircuit.patch.Masks;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(value = 120, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class GeneratorTest {

  private final HashEngine engine = new HashEngine();

  static Generator.Builder builder() {
    return new Generator.Builder(null).kvBytes(1_000_000).passBytes(100_000);
  }

  private Generator start(Generator.Builder builder) {
    return builder.build(engine, HashEngine.checks());
  }

  static long[] tokens(SplittableRandom random, int length) {
    return random.longs(length, 0, HashEngine.VOCABULARY).toArray();
  }

  private static int[] ints(long[] tokens) {
    return Arrays.stream(tokens).mapToInt(token -> (int) token).toArray();
  }

  static int[] ids(Generation generation) {
    return generation.result().join().tokens().stream().mapToInt(GeneratedToken::id).toArray();
  }

  private static Masks masks(SplittableRandom random) {
    return Masks.of(HashEngine.GRAPH, random.doubles(HashEngine.GRAPH.maskSize()).toArray());
  }

  /** A request and what its model answers, found without cache and company. */
  @SuppressWarnings("ArrayRecordComponent") // never compared
  private record Case(GenerationRequest request, int[] answer) {}

  private static Case random(SplittableRandom random) {
    long[] prompt = tokens(random, random.nextInt(1, 30));
    int count = random.nextInt(1, 20);
    Sampling sampling =
        random.nextBoolean()
            ? Sampling.GREEDY
            : Sampling.RANDOM.withTopP(0.9).withSeed(random.nextInt());
    Masks first = masks(random);
    Masks second = masks(random);
    int length = prompt.length;
    int middle = random.nextInt(40);
    long[] corrupt = random.nextInt(3) == 0 ? null : tokens(random, length);
    boolean follows = random.nextBoolean();
    GenerationPatch patch =
        corrupt == null
            ? GenerationPatch.zero(first)
            : GenerationPatch.resample(corrupt, first, follows ? Donor.FOLLOWS : Donor.FREE);
    HashOracle.MasksAt at;
    switch (random.nextInt(6)) {
      case 0 -> at = position -> first;
      case 1 -> {
        patch = patch.at(Span.PROMPT);
        at = position -> position < length ? first : null;
      }
      case 2 -> {
        patch = patch.at(Span.ANSWER);
        at = position -> position >= length ? first : null;
      }
      case 3 -> {
        patch = patch.switchedTo(second, middle);
        at = position -> position < middle ? first : second;
      }
      case 4 -> {
        patch = patch.at(Span.until(20)).switchedTo(second, middle);
        at = position -> position >= 20 ? null : position < middle ? first : second;
      }
      default -> {
        patch = GenerationPatch.NONE;
        at = position -> null;
      }
    }
    List<Steering> steering = new ArrayList<>();
    GenerationRequest request =
        GenerationRequest.of(prompt)
            .withPatch(patch)
            .withSampling(sampling)
            .withStop(Stop.after(count));
    for (Span span : List.of(Span.ANSWER, Span.from(7), Span.PROMPT)) {
      if (random.nextInt(4) == 0) {
        float[] vector = new float[HashEngine.CONFIG.dModel()];
        vector[random.nextInt(vector.length)] = random.nextInt(9);
        steering.add(Steering.of(HashEngine.STREAM, vector).times(random.nextInt(3)).at(span));
      }
    }
    for (Steering each : steering) {
      request = request.withSteering(each);
    }
    HashOracle oracle =
        new HashOracle(
            ints(prompt), corrupt == null ? null : ints(corrupt), follows, at, steering, sampling);
    return new Case(request, oracle.answer(count));
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 7, 64})
  void answersAreTheSameAtAnyLoadAndInAnyParts(int chunkTokens) {
    SplittableRandom random = new SplittableRandom(chunkTokens);
    List<Case> cases = IntStream.range(0, 150).mapToObj(i -> random(random)).toList();
    AtomicInteger widest = new AtomicInteger();
    AtomicInteger masks = new AtomicInteger();
    GenerationListener listener =
        new GenerationListener() {
          @Override
          public void stepped(StepReport step) {
            widest.accumulateAndGet(step.decodeRows(), Math::max);
            masks.accumulateAndGet(step.maskSets(), Math::max);
            assertThat(step.largestChunk()).isLessThanOrEqualTo(chunkTokens);
          }
        };
    try (Generator generator =
        start(
            builder()
                .queue(150)
                .maxActive(16)
                .chunkTokens(chunkTokens)
                .passBytes(15L * (chunkTokens + 9))
                .listener(listener))) {
      List<Generation> running =
          cases.stream().map(each -> generator.submit(each.request())).toList();
      for (int i = 0; i < cases.size(); i++) {
        assertThat(ids(running.get(i))).as("%s", cases.get(i)).isEqualTo(cases.get(i).answer());
      }
      assertThat(widest.get()).isGreaterThanOrEqualTo(8);
      assertThat(masks.get()).isGreaterThanOrEqualTo(2);
      assertThat(generator.state().finished()).containsEntry(FinishReason.LENGTH, 150L);
      assertThat(generator.state().kvReserved()).isZero();
    }
    assertThat(engine.openHandles()).isZero();
    assertThat(engine.isClosed()).isTrue();
  }

  @Test
  void tokensHaveTheirPlaceAndTheirProbability() {
    try (Generator generator = start(builder());
        Generation generation =
            generator.submit(
                GenerationRequest.of(new long[] {3, 1})
                    .withStop(Stop.after(3))
                    .withReads(HashEngine.STREAM))) {
      List<GeneratedToken> tokens = new ArrayList<>();
      generation.forEach(tokens::add);
      assertThat(tokens).extracting(GeneratedToken::position).containsExactly(2, 3, 4);
      long state = HashEngine.state(HashEngine.state(0, 3, 0, Map.of()), 1, 0, Map.of());
      double[] logits = HashEngine.logits(state);
      double all = Arrays.stream(logits).map(StrictMath::exp).sum();
      assertThat(tokens.get(0).logProb())
          .isCloseTo(logits[tokens.get(0).id()] - StrictMath.log(all), within(1e-9));
      assertThat(generation.reads(0).get(HashEngine.STREAM))
          .containsExactly(HashEngine.read(state), 0);
      GenerationResult result = generation.result().join();
      assertThat(result.tokens()).isEqualTo(tokens);
      assertThat(result.reason()).isEqualTo(FinishReason.LENGTH);
      assertThat(result.toFirstToken()).isPresent();
      assertThat(result.total()).isGreaterThanOrEqualTo(result.toFirstToken().get());
    }
  }

  @Test
  void answersEndWhereTheyShall() {
    GenerationRequest request = GenerationRequest.of(new long[] {5, 6}).withStop(Stop.after(10));
    try (Generator generator = start(builder())) {
      int[] ten = ids(generator.submit(request));
      int first = Arrays.stream(ten).boxed().toList().indexOf(ten[4]);
      Generation stopped = generator.submit(request.withStop(Stop.after(10).atTokens(ten[4])));
      assertThat(ids(stopped)).isEqualTo(Arrays.copyOf(ten, first + 1));
      assertThat(stopped.finishReason()).hasValue(FinishReason.STOP_TOKEN);
      AtomicInteger looks = new AtomicInteger();
      Generation guarded =
          generator.submit(
              request.withGuard(HashEngine.STREAM, read -> looks.incrementAndGet() > 3));
      assertThat(ids(guarded)).isEqualTo(Arrays.copyOf(ten, 3));
      assertThat(guarded.finishReason()).hasValue(FinishReason.GUARD);
      Generation full = generator.submit(request.withStop(Stop.after(1000)));
      assertThat(ids(full)).hasSize(63).startsWith(ten);
      assertThat(full.finishReason()).hasValue(FinishReason.CONTEXT);
    }
    HashEngine other = new HashEngine();
    try (Generator generator =
        builder().stopTokens(List.of(1, 2, 3)).build(other, HashEngine.checks())) {
      Generation all =
          generator.submit(
              request.withSampling(Sampling.RANDOM.withSeed(4)).withStop(Stop.after(1000)));
      assertThat(ids(all)).endsWith(all.tokens().get(all.tokens().size() - 1).id());
      assertThat(all.finishReason()).hasValue(FinishReason.STOP_TOKEN);
      assertThat(all.tokens().stream().filter(token -> token.id() > 0 && token.id() < 4))
          .hasSize(1);
    }
  }

  @Test
  void everyReaderGetsTheWholeAnswer() throws InterruptedException {
    try (Generator generator = start(builder());
        Generation generation =
            generator.submit(GenerationRequest.of(new long[] {1}).withStop(Stop.after(20)))) {
      Subscriber one = new Subscriber(1);
      Subscriber all = new Subscriber(Long.MAX_VALUE);
      generation.publisher().subscribe(one);
      generation.publisher().subscribe(all);
      List<GeneratedToken> looped = new ArrayList<>();
      generation.forEach(looped::add);
      Subscriber late = new Subscriber(3);
      generation.publisher().subscribe(late);
      for (Subscriber each : List.of(one, all, late)) {
        assertThat(each.ended.await(10, TimeUnit.SECONDS)).isTrue();
        assertThat(each.got).isEqualTo(looped).hasSize(20);
        assertThat(each.failure).isNull();
      }
      Subscriber wrong = new Subscriber(0);
      generation.publisher().subscribe(wrong);
      assertThat(wrong.ended.await(10, TimeUnit.SECONDS)).isTrue();
      assertThat(wrong.failure).isInstanceOf(IllegalArgumentException.class);
    }
  }

  /** Asks for so many tokens at a time. */
  static class Subscriber implements Flow.Subscriber<GeneratedToken> {
    final List<GeneratedToken> got = new ArrayList<>();
    final CountDownLatch ended = new CountDownLatch(1);
    volatile Throwable failure;
    private final long each;
    private Flow.Subscription subscription;

    Subscriber(long each) {
      this.each = each;
    }

    @Override
    public void onSubscribe(Flow.Subscription given) {
      subscription = given;
      given.request(each);
    }

    @Override
    public void onNext(GeneratedToken token) {
      got.add(token);
      if (got.size() % each == 0) {
        subscription.request(each);
      }
    }

    @Override
    public void onError(Throwable thrown) {
      failure = thrown;
      ended.countDown();
    }

    @Override
    public void onComplete() {
      ended.countDown();
    }
  }

  @Test
  void whatCannotBeGeneratedIsRefused() {
    Masks masks = Masks.uniform(HashEngine.GRAPH, 1);
    GenerationRequest request = GenerationRequest.of(new long[] {1, 2, 3});
    try (Generator generator = start(builder())) {
      refused(generator, GenerationRequest.of(new long[] {1, 31}), "expected 0 to 30, got 31");
      refused(
          generator, GenerationRequest.of(new long[65]), "at most 64 positions (n_ctx), got 65");
      refused(
          generator, request.withReads("blocks.1.hook_resid_pos"), "did you mean 'blocks.1.hook");
      refused(generator, request.withStop(Stop.after(3).atTexts(".")), "without a tokenizer");
      refused(
          generator,
          request.withStop(Stop.after(3).atTokens(30, 31)),
          "stop tokens: expected 0 to 30, got 31");
      refused(
          generator,
          request.withStop(Stop.after(3).atTokens(-1)),
          "stop tokens: expected 0 to 30, got -1");
      refused(
          generator,
          request.withPatch(GenerationPatch.resample(new long[] {1, 2}, masks, Donor.FREE)),
          "corrupt tokens: expected 3 like the prompt, so that positions agree, got 2");
      refused(
          generator,
          request.withSteering(Steering.of(HashEngine.STREAM, new float[3])),
          "steering vector: expected 16 values (d_model), got 3");
      ids(
          generator.submit(
              request
                  .withPatch(GenerationPatch.resample(new long[] {1, 2, 4}, masks, Donor.FREE))
                  .withReads(HashEngine.STREAM)
                  .withStop(Stop.after(3).atTokens(0, 30))
                  .withSteering(Steering.of(HashEngine.STREAM, new float[16]))));
    }
    assertThatIllegalArgumentException()
        .isThrownBy(
            () -> builder().stopTokens(List.of(2, 31)).build(new HashEngine(), HashEngine.checks()))
        .withMessage("stop tokens: expected 0 to 30, got 31");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> GenerationRequest.of(new long[] {}))
        .withMessage("tokens: expected at least one, got none");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> GenerationRequest.of(new long[] {-1}))
        .withMessageContaining("got -1 at position 0");
  }

  private static void refused(Generator generator, GenerationRequest request, String words) {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> generator.submit(request))
        .withMessageContaining(words);
  }
}
