package org.autocircuit.eval;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import org.autocircuit.data.PromptPairBatch;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.AbstractTensor;
import org.junit.jupiter.api.Test;

class AnswerMetricsTest {

  private static final long NONE = PromptPairBatch.NO_ANSWER;
  private static final Logits OUTPUTS = Logits.of(new float[][] {{1, 4, 2, 0}, {5, 0, 0, 1}});

  @Test
  void averagesOverAnswersAndIgnoresPadding() {
    long[][] answers = {{1, 2}, {0, NONE}};
    long[][] wrong = {{3}, {1}};
    assertThat(AnswerMetrics.values(OUTPUTS, answers, AnswerScale.LOGIT)).containsExactly(3, 5);
    assertThat(AnswerMetrics.differences(OUTPUTS, answers, wrong, AnswerScale.LOGIT))
        .containsExactly(3, 5);
  }

  @Test
  void withoutWrongAnswersTheDifferenceIsTheValue() {
    long[][] answers = {{1}, {0}};
    assertThat(
            AnswerMetrics.differences(
                OUTPUTS, answers, new long[][] {{}, {NONE}}, AnswerScale.LOGIT))
        .containsExactly(4, 5);
    assertThat(AnswerMetrics.beatsWrong(OUTPUTS, answers, new long[][] {{}, {NONE}}))
        .containsExactly(true, true);
  }

  @Test
  void anyAnswerMayBeTheTop() {
    assertThat(AnswerMetrics.isTop(OUTPUTS, new long[][] {{2, 1}, {3, NONE}}))
        .containsExactly(true, false);
    assertThat(AnswerMetrics.beatsWrong(OUTPUTS, new long[][] {{2}, {3}}, new long[][] {{1}, {1}}))
        .containsExactly(false, true);
  }

  @Test
  void misuse() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> AnswerMetrics.isTop(OUTPUTS, new long[][] {{1}}))
        .withMessageContaining("each of 2 prompts, got 1 rows");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> AnswerMetrics.isTop(OUTPUTS, new long[][] {{1}, {4}}))
        .withMessage("answer token 4 of prompt 1 is not in the vocabulary of 4 tokens");
    try (PointerScope scope = new PointerScope()) {
      Logits all = Logits.of(AbstractTensor.create(new float[8], 1, 2, 4));
      assertThatIllegalArgumentException()
          .isThrownBy(() -> AnswerMetrics.isTop(all, new long[][] {{1}}))
          .withMessageContaining("2 positions");
    }
  }
}
