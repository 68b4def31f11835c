package org.autocircuit.generate;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/** All that an answer consists of, to be compared bit by bit. */
final class SeenAnswer {

  private final List<double[]> logits = new ArrayList<>();
  private Generation generation;

  /** Submits a request that shows its logits. */
  static SeenAnswer to(GenerationRequest request, Generator generator) {
    SeenAnswer answer = new SeenAnswer();
    answer.generation = generator.submit(answer.seeing(request));
    return answer;
  }

  /** The same request, which shows the logits that it chooses from here. */
  private GenerationRequest seeing(GenerationRequest request) {
    Sampling sampling = request.sampling();
    int[] made = {0};
    return request.withSampler(
        () -> {
          TokenSampler sampler = sampling.sampler();
          boolean isDonor = made[0]++ > 0;
          return (values, step) -> {
            if (!isDonor) {
              logits.add(values.clone());
            }
            return sampler.next(values, step);
          };
        });
  }

  Generation generation() {
    return generation;
  }

  /** Waits for it, and checks that nothing of it differs from another, not by a bit. */
  void assertEqualTo(SeenAnswer expected, String name) {
    GenerationResult got = generation.result().join();
    GenerationResult want = expected.generation.result().join();
    assertThat(got.reason()).as("%s", name).isEqualTo(want.reason());
    assertThat(got.tokens()).as("%s", name).isEqualTo(want.tokens());
    for (int step = 0; step < want.tokens().size(); step++) {
      String place = "%s, %s, step %s".formatted(name, generation.request(), step);
      assertThat(Arrays.equals(logits.get(step), expected.logits.get(step))).as(place).isTrue();
      Map<String, float[]> reads = expected.generation.reads(step);
      assertThat(generation.reads(step).keySet()).as(place).isEqualTo(reads.keySet());
      generation
          .reads(step)
          .forEach((hook, values) -> assertThat(values).as(place).isEqualTo(reads.get(hook)));
    }
  }
}
