package org.autocircuit.eval;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.within;

import java.util.List;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.autocircuit.exception.NotFiniteException;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.AbstractTensor;
import org.junit.jupiter.api.Test;

class LogitsTest {

  private static final Logits ROWS = Logits.of(new float[][] {{1, 3, 2}, {0, 0, 5}});

  @Test
  void keepsTensorsInTheirPrecision() {
    try (PointerScope scope = new PointerScope()) {
      Logits doubles = Logits.of(AbstractTensor.create(new double[] {0.1, 0.2}, 1, 2));
      assertThat(doubles.get(0, 0)).isEqualTo(0.1);
      Logits floats = Logits.of(AbstractTensor.create(new float[] {0.1f, 0.2f, 3, 4}, 1, 2, 2));
      assertThat(floats).hasToString("Logits[1, 2, 2]");
      assertThat(floats.rows()).isEqualTo(2);
      assertThat(floats.get(0, 0)).isEqualTo(0.1f);
      assertThat(floats.toArray()).containsExactly(0.1f, 0.2f, 3, 4);
      assertThatIllegalArgumentException()
          .isThrownBy(() -> Logits.of(AbstractTensor.create(new float[] {1}, 1)))
          .withMessageContaining("got 1 dimensions");
    }
  }

  @Test
  void probabilitiesSumToOne() {
    double[] probabilities = ROWS.probabilities(0);
    assertThat(probabilities[0] + probabilities[1] + probabilities[2]).isCloseTo(1, within(1e-12));
    assertThat(Math.log(probabilities[1] / probabilities[0])).isCloseTo(2, within(1e-12));
    Logits huge = Logits.of(new float[][] {{1e4f, 0}});
    assertThat(huge.logProbabilities(0)).containsExactly(0, -1e4);
  }

  @Test
  void topTokens() {
    assertThat(ROWS.topToken(0)).isEqualTo(1);
    assertThat(ROWS.topTokens(0, 2)).containsExactly(1, 2);
    assertThat(ROWS.topTokens(1, 9)).containsExactly(2, 0, 1);
    assertThat(ROWS.topTokens(1, 0)).isEmpty();
    assertThat(Logits.of(new float[][] {{2, 2}}).topToken(0)).isZero();
    Logits ties = Logits.of(new float[][] {{1, 2, 1, 3, 2, 3, 1}});
    assertThat(ties.topTokens(0, 4)).containsExactly(3, 5, 1, 4);
    assertThat(ties.topTokens(0, 5)).containsExactly(3, 5, 1, 4, 0);
    assertThat(ties.topTokens(0, 7)).containsExactly(3, 5, 1, 4, 0, 2, 6);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> ties.topTokens(0, -1))
        .withMessageContaining("got -1");
  }

  @Test
  void whatIsNoNumberIsNeverGreatest() {
    Logits nan = Logits.of(new float[][] {{Float.NaN, 1}, {0, 1}, {0, Float.POSITIVE_INFINITY}});
    assertThat(nan.isFinite(0)).isFalse();
    assertThat(nan.isFinite(1)).isTrue();
    assertThat(nan.isFinite(2)).isFalse();
    assertThat(nan.topToken(2)).isEqualTo(1);
    long[][] answers = {{1}, {1}, {1}};
    long[][] wrong = {{0}, {0}, {0}};
    List<ThrowingCallable> calls =
        List.of(
            () -> nan.topToken(0),
            () -> nan.topTokens(0, 1),
            () -> AnswerMetrics.isTop(nan, answers),
            () -> AnswerMetrics.beatsWrong(nan, answers, wrong));
    for (ThrowingCallable call : calls) {
      assertThatExceptionOfType(NotFiniteException.class)
          .isThrownBy(call)
          .withMessageContaining("row 0");
    }
    assertThat(AnswerMetrics.differences(nan, answers, wrong, AnswerScale.LOGIT)[0]).isNaN();
    assertThat(AnswerMetrics.values(nan, answers, AnswerScale.PROBABILITY)[0]).isNaN();
  }

  @Test
  void misuse() {
    assertThatExceptionOfType(IndexOutOfBoundsException.class).isThrownBy(() -> ROWS.get(2, 0));
    assertThatExceptionOfType(IndexOutOfBoundsException.class).isThrownBy(() -> ROWS.get(0, 3));
    assertThatIllegalArgumentException().isThrownBy(() -> Logits.of(new float[0][]));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Logits.of(new float[][] {{1}, {1, 2}}))
        .withMessageContaining("expected 1 values in row 1");
  }
}
