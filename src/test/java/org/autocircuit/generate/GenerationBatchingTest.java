package org.autocircuit.generate;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import org.autocircuit.PatchableModel;
import org.autocircuit.Threads;
import org.autocircuit.model.Precision;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * In 32 bits on the CPU each request gets the same bits whoever runs beside it, in whatever parts
 * its prompt is read, with any number of threads, though others come and are cancelled at random;
 * and so do several answers to one prompt and those that fork from others.
 */
class GenerationBatchingTest {

  private static final int REQUESTS = Integer.getInteger("autocircuit.requests", 40);

  private final int threads = Threads.get();

  @AfterEach
  void putBack() {
    Threads.set(threads);
  }

  @ParameterizedTest
  @EnumSource
  void companyPartsAndThreadsChangeNoBit(GeneratingModel of) {
    of.use(
        Precision.FLOAT32,
        model -> {
          try (RandomRequests random = new RandomRequests(model, 11)) {
            List<GenerationRequest> requests =
                Stream.generate(random::next).limit(REQUESTS).toList();
            Threads.set(1);
            List<Alone> alone = new ArrayList<>();
            try (Generator generator = Generator.builder(model).chunkTokens(50).build()) {
              requests.forEach(request -> alone.add(new Alone(request, generator)));
            }
            assertThat(reasons(alone)).contains(FinishReason.LENGTH, FinishReason.GUARD);
            together(model, alone, 1, 1);
            together(model, alone, 7, 2);
            together(model, alone, 64, 1);
            together(model, alone, 1000, 2);
          }
        });
  }

  /** The answers to a request, each with nobody beside. */
  private static final class Alone {
    final GenerationRequest request;
    final Generation one;
    final Generation two;

    /** The tokens of the first one with which the fork begins. */
    final int shared;

    final Sampling after;
    final Generation fork;

    Alone(GenerationRequest request, Generator generator) {
      this.request = request;
      one = run(request, generator);
      two = run(request.another(1), generator);
      shared = one.tokens().size() / 2;
      after = Sampling.RANDOM.withSeed(request.sampling().seed() ^ 77);
      fork =
          run(
              request.withSampler(
                  () -> {
                    TokenSampler before = request.sampling().sampler();
                    TokenSampler behind = after.sampler();
                    return (logits, step) -> (step < shared ? before : behind).next(logits, step);
                  }),
              generator);
    }

    private static Generation run(GenerationRequest request, Generator generator) {
      Generation generation = generator.submit(request);
      generation.result().join();
      return generation;
    }
  }

  private static Set<FinishReason> reasons(List<Alone> answers) {
    Set<FinishReason> reasons = EnumSet.noneOf(FinishReason.class);
    answers.forEach(each -> reasons.add(each.one.finishReason().orElseThrow()));
    return reasons;
  }

  private static void together(
      PatchableModel model, List<Alone> alone, int chunkTokens, int threads) {
    Threads.set(threads);
    Company company = new Company();
    SplittableRandom random = new SplittableRandom(chunkTokens);
    try (Generator generator =
        Generator.builder(model)
            .chunkTokens(chunkTokens)
            .maxActive(16)
            .queue(4 * REQUESTS)
            .executor(Runnable::run)
            .listener(company)
            .build()) {
      List<List<Generation>> kept = new ArrayList<>();
      Map<Integer, Generation> forks = new ConcurrentHashMap<>();
      List<Generation> others = new ArrayList<>();
      for (int i = 0; i < alone.size(); i++) {
        Alone each = alone.get(i);
        kept.add(generator.submit(each.request, random.nextInt(1, 3)));
        if (random.nextInt(3) == 0) {
          forkWhileItRuns(kept.get(i).get(0), each, i, forks);
        }
        if (random.nextInt(3) == 0) {
          others.add(generator.submit(alone.get(random.nextInt(alone.size())).request));
        }
        if (!others.isEmpty() && random.nextInt(4) == 0) {
          others.remove(random.nextInt(others.size())).close();
        }
      }
      for (int i = 0; i < alone.size(); i++) {
        String name = "request %s by %s".formatted(i, chunkTokens);
        assertSame(kept.get(i).get(0), alone.get(i).one, name);
        if (kept.get(i).size() > 1) {
          assertSame(kept.get(i).get(1), alone.get(i).two, name + ", second answer");
        }
      }
      assertThat(forks).isNotEmpty();
      forks.forEach((i, fork) -> assertSame(fork, alone.get(i).fork, "fork of request " + i));
      others.forEach(Generation::close);
    }
    assertThat(company.crowded.get()).isGreaterThan(company.steps.get() / 2);
  }

  /** Forks an answer on the generator's thread, as soon as it has the tokens to be shared. */
  private static void forkWhileItRuns(
      Generation generation, Alone of, int index, Map<Integer, Generation> forks) {
    generation
        .publisher()
        .subscribe(
            new GeneratorTest.Subscriber(1) {
              @Override
              public void onNext(GeneratedToken token) {
                super.onNext(token);
                if (got.size() == of.shared) {
                  forks.put(index, generation.fork(of.shared, of.after));
                }
              }
            });
  }

  /** Waits for an answer, and checks that nothing of it differs from another, not by a bit. */
  private static void assertSame(Generation got, Generation want, String name) {
    assertThat(got.result().join().reason()).as(name).isEqualTo(want.finishReason().orElseThrow());
    assertThat(got.tokens()).as(name).isEqualTo(want.tokens());
    for (int step = 0; step < want.tokens().size(); step++) {
      String place = "%s, %s, step %s".formatted(name, got.request(), step);
      assertThat(got.logProbs(step).equals(want.logProbs(step))).as(place).isTrue();
      Map<String, float[]> reads = want.reads(step);
      assertThat(got.reads(step).keySet()).as(place).isEqualTo(reads.keySet());
      got.reads(step)
          .forEach((hook, values) -> assertThat(values).as(place).isEqualTo(reads.get(hook)));
    }
  }

  /** Counts steps with eight rows and more than one mask set. */
  private static final class Company implements GenerationListener {
    final AtomicInteger steps = new AtomicInteger();
    final AtomicInteger crowded = new AtomicInteger();

    @Override
    public void stepped(StepReport step) {
      steps.incrementAndGet();
      crowded.addAndGet(step.rows() >= 8 && step.maskSets() > 1 ? 1 : 0);
    }
  }
}
