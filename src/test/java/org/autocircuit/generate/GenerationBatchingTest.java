package org.autocircuit.generate;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;
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
 * its prompt is read, with any number of threads, though others come and are cancelled at random.
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
            List<SeenAnswer> alone = new ArrayList<>();
            try (Generator generator = Generator.builder(model).chunkTokens(50).build()) {
              for (GenerationRequest request : requests) {
                SeenAnswer answer = SeenAnswer.to(request, generator);
                answer.generation().result().join();
                alone.add(answer);
              }
            }
            assertThat(reasons(alone)).contains(FinishReason.LENGTH, FinishReason.GUARD);
            together(model, requests, alone, 1, 1);
            together(model, requests, alone, 7, 2);
            together(model, requests, alone, 64, 1);
            together(model, requests, alone, 1000, 2);
          }
        });
  }

  private static Set<FinishReason> reasons(List<SeenAnswer> answers) {
    Set<FinishReason> reasons = EnumSet.noneOf(FinishReason.class);
    answers.forEach(each -> reasons.add(each.generation().finishReason().orElseThrow()));
    return reasons;
  }

  private static void together(
      PatchableModel model,
      List<GenerationRequest> requests,
      List<SeenAnswer> alone,
      int chunkTokens,
      int threads) {
    Threads.set(threads);
    Company company = new Company();
    SplittableRandom random = new SplittableRandom(chunkTokens);
    try (Generator generator =
        Generator.builder(model)
            .chunkTokens(chunkTokens)
            .maxActive(16)
            .queue(2 * REQUESTS)
            .listener(company)
            .build()) {
      List<SeenAnswer> kept = new ArrayList<>();
      List<Generation> others = new ArrayList<>();
      for (GenerationRequest request : requests) {
        kept.add(SeenAnswer.to(request, generator));
        if (random.nextInt(3) == 0) {
          others.add(generator.submit(requests.get(random.nextInt(requests.size()))));
        }
        if (!others.isEmpty() && random.nextInt(4) == 0) {
          others.remove(random.nextInt(others.size())).close();
        }
      }
      for (int i = 0; i < requests.size(); i++) {
        kept.get(i).assertEqualTo(alone.get(i), "request %s by %s".formatted(i, chunkTokens));
      }
      others.forEach(Generation::close);
    }
    assertThat(company.crowded.get()).isGreaterThan(company.steps.get() / 2);
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
