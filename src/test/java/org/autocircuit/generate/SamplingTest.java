package org.autocircuit.generate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.within;

import java.util.Comparator;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.autocircuit.internal.SplitMix64;
import org.junit.jupiter.api.Test;

class SamplingTest {

  private static final double NEVER = Double.NEGATIVE_INFINITY;

  @Test
  void takesTheFirstOfTheGreatest() {
    TokenSampler greedy = Sampling.GREEDY.sampler();
    assertThat(greedy.next(new double[] {1, 3, 3, 2}, 0)).isEqualTo(1);
    assertThat(greedy.next(new double[] {NEVER, NEVER, -7}, 5)).isEqualTo(2);
  }

  @Test
  void drawsWhatSortingEverythingDraws() {
    SplittableRandom random = new SplittableRandom(1);
    for (int round = 0; round < 3000; round++) {
      Sampling sampling =
          new Sampling(
              0.25 + 2 * random.nextDouble(),
              random.nextInt(3) == 0 ? 0 : random.nextInt(1, 300),
              random.nextInt(3) == 0 ? 1 : 0.01 + 0.99 * random.nextDouble(),
              random.nextLong());
      // Small whole numbers make ties, at the bounds, too.
      boolean ties = random.nextBoolean();
      double[] logits = new double[random.nextInt(1, 400)];
      for (int i = 0; i < logits.length; i++) {
        double value = 20 * random.nextDouble() - 10;
        logits[i] = random.nextInt(9) == 0 ? NEVER : ties ? Math.rint(value / 3) : value;
      }
      logits[random.nextInt(logits.length)] = 1;
      int step = random.nextInt(1000);
      assertThat(sampling.sampler().next(logits.clone(), step))
          .as("%s of %s", sampling, logits.length)
          .isEqualTo(sorted(sampling, logits, step));
    }
  }

  /** Sorts all tokens, keeps the first ones, and goes through them in the order of their ids. */
  private static int sorted(Sampling sampling, double[] logits, int step) {
    List<Integer> ids =
        IntStream.range(0, logits.length)
            .boxed()
            .filter(id -> logits[id] != NEVER)
            .sorted(Comparator.comparingDouble((Integer id) -> 0 - logits[id] + 0.0)) // -0 is 0
            .collect(Collectors.toList());
    if (sampling.topK() > 0 && sampling.topK() < ids.size()) {
      ids = ids.subList(0, sampling.topK());
    }
    double mass =
        sampling.topP() * ids.stream().mapToDouble(id -> weight(sampling, logits[id])).sum();
    int kept = 0;
    for (double sum = 0; kept < ids.size() && sum < mass; kept++) {
      sum += weight(sampling, logits[ids.get(kept)]);
    }
    List<Integer> last = ids.subList(0, kept).stream().sorted().toList();
    double all = last.stream().mapToDouble(id -> weight(sampling, logits[id])).sum();
    SplitMix64 bits = new SplitMix64(SplitMix64.mix(sampling.seed()) + step);
    double end = ((bits.next() >>> 11) + 1) * 0x1p-53 * all;
    double sum = 0;
    for (int id : last) {
      sum += weight(sampling, logits[id]);
      if (sum >= end) {
        return id;
      }
    }
    return last.get(last.size() - 1);
  }

  private static double weight(Sampling sampling, double logit) {
    return StrictMath.exp(logit / sampling.temperature());
  }

  @Test
  void drawsAsOftenAsTokensAreProbable() {
    TokenSampler sampler = Sampling.RANDOM.withTemperature(0.5).withSeed(3).sampler();
    int[] counts = new int[3];
    for (int step = 0; step < 20_000; step++) {
      counts[sampler.next(new double[] {0, NEVER, StrictMath.log(2)}, step)]++;
    }
    assertThat(counts[1]).isZero();
    assertThat(counts[2] / 20_000.0).isCloseTo(0.8, within(0.015));
  }

  @Test
  void aDrawDependsOnSeedAndStepOnly() {
    double[] logits = new SplittableRandom(2).doubles(500).toArray();
    Sampling sampling = Sampling.RANDOM.withTopK(100).withTopP(0.9);
    TokenSampler used = sampling.sampler();
    for (int step = 0; step < 50; step++) {
      used.next(new double[] {1, 2}, step);
      assertThat(used.next(logits.clone(), step))
          .isEqualTo(sampling.sampler().next(logits.clone(), step));
    }
    assertThat(draws(sampling.withSeed(1), logits)).isNotEqualTo(draws(sampling, logits));
  }

  private static List<Integer> draws(Sampling sampling, double[] logits) {
    TokenSampler sampler = sampling.sampler();
    return IntStream.range(0, 20).mapToObj(step -> sampler.next(logits.clone(), step)).toList();
  }

  @Test
  void exponentialsAreThoseOfTheMathLibrary() {
    double[] values = new SplittableRandom(3).doubles(5000, -40, 0).toArray();
    double[] powers = values.clone();
    Exponentials.replace(powers, powers.length, 0, 1);
    double sum = 0;
    for (int i = 0; i < values.length; i++) {
      double exact = StrictMath.exp(values[i]);
      assertThat(powers[i]).isCloseTo(exact, within(exact * (values[i] > -15 ? 1e-10 : 1e-8)));
      sum += exact;
    }
    assertThat(new Exponentials().logSum(values, 0)).isCloseTo(StrictMath.log(sum), within(1e-11));
    double[] extremes = {NEVER, -1e300, -5e5, 0, Double.NaN};
    Exponentials.replace(extremes, 5, 0, 2);
    assertThat(extremes[3]).isEqualTo(1);
    assertThat(extremes[4]).isNaN();
    assertThat(extremes).startsWith(extremes[1], extremes[1], extremes[1]);
    assertThat(extremes[0]).isBetween(0.0, 1e-250);
  }

  @Test
  void saysWhatIsOutOfRange() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Sampling.RANDOM.withTemperature(-1))
        .withMessage("temperature: expected 0 or a positive number, got -1.0");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Sampling.RANDOM.withTopP(0))
        .withMessage("topP: expected a share in (0, 1], got 0.0");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Sampling.RANDOM.withTopK(-1))
        .withMessage("topK: expected 0 or more, got -1");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Stop.after(0))
        .withMessage("maxTokens: expected 1 or more, got 0");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Stop.after(3).atTexts(""))
        .withMessage("stop text: expected some characters, got none");
  }
}
