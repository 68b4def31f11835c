package org.autocircuit.eval;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.List;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.AbstractTensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class KlDivergenceTest {

  private static final Logits FINITE = Logits.of(new float[][] {{1, 3, 2}, {0, 0, 5}});

  @ParameterizedTest
  @ValueSource(floats = {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY})
  void ofWhatIsNotFiniteIsNaN(float value) {
    for (float[] row : new float[][] {{value, 0, 1}, {0, 1, value}, {value, value, value}}) {
      Logits other = Logits.of(new float[][] {{1, 3, 2}, row});
      assertThat(KlDivergence.mean(other, FINITE)).isNaN();
      assertThat(KlDivergence.mean(FINITE, other)).isNaN();
      assertThat(KlDivergence.mean(other, other)).isNaN();
      assertThat(KlDivergence.mean(List.of(FINITE, other), List.of(FINITE, FINITE))).isNaN();
    }
    assertThat(KlDivergence.mean(FINITE, FINITE)).isZero();
  }

  /** Two prompts of one position and one of three count as three prompts. */
  @Test
  void everyPromptCountsOnceWhateverItsPositions() {
    try (PointerScope scope = new PointerScope()) {
      Logits outputs = Logits.of(new float[][] {{1, 0}, {0, 2}});
      Logits target = Logits.of(new float[][] {{0, 0}, {1, 1}});
      Logits longOutputs =
          Logits.of(AbstractTensor.create(new float[] {1, 0, 3, 3, 0, 5}, 1, 3, 2));
      Logits longTarget = Logits.of(AbstractTensor.create(new float[] {0, 1, 2, 0, 0, 0}, 1, 3, 2));
      double expected =
          (divergence(0, 1)
                  + divergence(0, -2)
                  + (divergence(-1, 1) + divergence(2, 0) + divergence(0, -5)) / 3)
              / 3;
      assertThat(KlDivergence.mean(List.of(outputs, longOutputs), List.of(target, longTarget)))
          .isCloseTo(expected, within(1e-12));
    }
  }

  /** Of two tokens whose logits differ by so much in the target and in the output. */
  private static double divergence(double target, double output) {
    double p = 1 / (1 + Math.exp(-target));
    double q = 1 / (1 + Math.exp(-output));
    return p * Math.log(p / q) + (1 - p) * Math.log((1 - p) / (1 - q));
  }
}
