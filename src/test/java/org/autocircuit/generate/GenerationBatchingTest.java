package org.autocircuit.generate;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicInteger;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.RandomModels;
import org.autocircuit.Threads;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.patch.Masks;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * In 32 bits on the CPU each request gets the same bits whoever runs beside it, in whatever parts
 * its prompt is read, with any number of threads, though others come and are cancelled at random.
 */
class GenerationBatchingTest {

  private static final int REQUESTS = Integer.getInteger("autocircuit.requests", 60);
  private static final TransformerConfig CONFIG = RandomModels.config(2, 24, 4, 6, 40, 61, 230);

  private final int threads = Threads.get();

  @AfterEach
  void putBack() {
    Threads.set(threads);
  }

  @ParameterizedTest
  @CsvSource({"1, 1", "7, 2", "64, 1", "1000, 2"})
  void companyPartsAndThreadsChangeNoBit(int chunkTokens, int threads) {
    try (PatchableModel model =
        RandomModels.patchable(CONFIG, Precision.FLOAT32, PatchableModelOptions.defaults(), 3)) {
      List<GenerationRequest> requests = requests(model);
      Map<Integer, List<double[]>> alone = new LinkedHashMap<>();
      Threads.set(1);
      try (Generator generator = Generator.builder(model).chunkTokens(50).build()) {
        for (int i = 0; i < REQUESTS; i++) {
          alone.put(i, new ArrayList<>());
          generator.submit(seen(requests.get(i), alone.get(i))).result().join();
        }
      }
      Threads.set(threads);
      Map<Integer, List<double[]>> together = new LinkedHashMap<>();
      Company company = new Company();
      SplittableRandom random = new SplittableRandom(chunkTokens);
      try (Generator generator =
          Generator.builder(model)
              .chunkTokens(chunkTokens)
              .maxActive(16)
              .queue(2 * REQUESTS)
              .listener(company)
              .build()) {
        List<Generation> kept = new ArrayList<>();
        List<Generation> others = new ArrayList<>();
        for (int i = 0; i < REQUESTS; i++) {
          together.put(i, new ArrayList<>());
          kept.add(generator.submit(seen(requests.get(i), together.get(i))));
          if (random.nextInt(3) == 0) {
            others.add(generator.submit(requests.get(random.nextInt(REQUESTS))));
          }
          if (!others.isEmpty() && random.nextInt(4) == 0) {
            others.remove(random.nextInt(others.size())).close();
          }
        }
        kept.forEach(each -> each.result().join());
        others.forEach(Generation::close);
      }
      for (int i = 0; i < REQUESTS; i++) {
        List<double[]> expected = alone.get(i);
        List<double[]> got = together.get(i);
        assertThat(got).as("request %s", i).hasSameSizeAs(expected);
        for (int step = 0; step < expected.size(); step++) {
          assertThat(Arrays.equals(got.get(step), expected.get(step)))
              .as("bits of request %s, %s, step %s", i, requests.get(i), step)
              .isTrue();
        }
      }
      assertThat(company.crowded.get()).isGreaterThan(company.steps.get() / 2);
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

  private static GenerationRequest seen(GenerationRequest request, List<double[]> into) {
    Sampling sampling = request.sampling();
    int[] made = {0};
    return request.withSampler(
        () -> {
          TokenSampler sampler = sampling.sampler();
          boolean isDonor = made[0]++ > 0;
          return (logits, step) -> {
            if (!isDonor) {
              into.add(logits.clone());
            }
            return sampler.next(logits, step);
          };
        });
  }

  private static List<GenerationRequest> requests(PatchableModel model) {
    SplittableRandom random = new SplittableRandom(11);
    List<GenerationRequest> requests = new ArrayList<>();
    for (int i = 0; i < REQUESTS; i++) {
      int length = random.nextInt(5) == 0 ? random.nextInt(60, 200) : random.nextInt(1, 40);
      long[] prompt = random.longs(length, 0, CONFIG.dVocab()).toArray();
      long[] corrupt = random.longs(length, 0, CONFIG.dVocab()).toArray();
      Masks masks =
          Masks.of(model.graph(), RandomModels.masks(model.graph(), random.nextInt(1000)));
      GenerationPatch patch =
          switch (random.nextInt(5)) {
            case 0 -> GenerationPatch.NONE;
            case 1 -> GenerationPatch.zero(masks);
            case 2 -> GenerationPatch.resample(corrupt, masks, Donor.FREE);
            case 3 -> GenerationPatch.resample(corrupt, masks, Donor.FOLLOWS).at(Span.ANSWER);
            default -> GenerationPatch.resample(corrupt, masks, Donor.FOLLOWS);
          };
      requests.add(
          GenerationRequest.of(prompt)
              .withPatch(patch)
              .withSampling(Sampling.RANDOM.withSeed(i))
              .withStop(Stop.after(random.nextInt(1, 25))));
    }
    return requests;
  }
}
