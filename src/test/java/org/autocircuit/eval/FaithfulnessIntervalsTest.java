package org.autocircuit.eval;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.PatchType;
import org.autocircuit.prune.VerifiedScores.Interval;
import org.junit.jupiter.api.Test;

class FaithfulnessIntervalsTest {

  private static final int PROMPTS = 400;

  private static PromptValues values(double[] values) {
    Conditions conditions =
        new Conditions(
            "m", PatchType.TREE_PATCH, BatchAblation.RESAMPLE, PatchDirection.NOISING, PROMPTS);
    return new PromptValues(conditions, 1, values);
  }

  private static double[] filled(double value) {
    double[] all = new double[PROMPTS];
    Arrays.fill(all, value);
    return all;
  }

  private static FaithfulnessCurve curve(double[] circuit) {
    PromptValues empty = values(filled(0));
    PromptValues full = values(filled(2));
    List<FaithfulnessCurve.Point> points = new ArrayList<>();
    for (double share : FaithfulnessCurve.SHARES) {
      PromptValues of = share < 1 ? values(circuit) : full;
      points.add(
          new FaithfulnessCurve.Point(share, of, of.mean() / 2, new CircuitMeasures(0, 0, 0, 0)));
    }
    return new FaithfulnessCurve(false, full, empty, points);
  }

  @Test
  void areAsWideAsMeansSpread() {
    Random random = new Random(3);
    double[] circuit = new double[PROMPTS];
    Arrays.setAll(circuit, i -> 1 + random.nextGaussian());
    FaithfulnessCurve curve = curve(circuit);
    FaithfulnessIntervals found = FaithfulnessIntervals.of(curve, 4000, 1);
    assertThat(found.faithfulness()).hasSize(FaithfulnessCurve.SHARES.size());
    Interval first = found.faithfulness().get(0);
    double half = 1.96 * values(circuit).standardError() / 2;
    assertThat(first.value()).isEqualTo(curve.points().get(0).faithfulness());
    assertThat(first.high() - first.value()).isCloseTo(half, within(0.1 * half));
    assertThat(first.value() - first.low()).isCloseTo(half, within(0.1 * half));
    // The full model is as good as itself in every replicate.
    Interval last = found.faithfulness().get(FaithfulnessCurve.SHARES.size() - 1);
    assertThat(last.low()).isCloseTo(1, within(1e-12));
    assertThat(last.high()).isCloseTo(1, within(1e-12));
    assertThat(curve.performanceRatio())
        .isBetween(found.performanceRatio().low(), found.performanceRatio().high());
    assertThat(curve.modelDistance())
        .isBetween(found.modelDistance().low(), found.modelDistance().high());
    assertThat(FaithfulnessIntervals.of(curve, 4000, 1)).isEqualTo(found);
    assertThatIllegalArgumentException().isThrownBy(() -> FaithfulnessIntervals.of(curve, 0, 1));
  }

  @Test
  void promptsThatAgreeLeaveNothingToChance() {
    Interval interval = FaithfulnessIntervals.of(curve(filled(1)), 50, 1).faithfulness().get(0);
    assertThat(interval.low()).isCloseTo(0.5, within(1e-12));
    assertThat(interval.high()).isCloseTo(0.5, within(1e-12));
  }
}
