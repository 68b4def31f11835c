package org.autocircuit.eval;

import java.util.Locale;
import java.util.Objects;
import org.autocircuit.data.PromptPairBatch;

/**
 * Says of each prompt by one number how far a model's outputs do the task: the greater, the better.
 * Safe to share between threads.
 */
public interface PromptMetric {

  /** The name of the numbers, for tables: {@code logit difference}. */
  String name();

  /**
   * The metric of each prompt.
   *
   * @param outputs of one position for each prompt
   * @param batch the prompts
   * @return one number for each prompt
   * @throws IllegalArgumentException if outputs and prompts do not belong together
   */
  double[] values(Logits outputs, PromptPairBatch batch);

  /** The value of the answers less that of the wrong answers, {@link AnswerMetrics#differences}. */
  static PromptMetric answerDifference(AnswerScale scale) {
    Objects.requireNonNull(scale, "scale");
    return named(
        words(scale) + " difference",
        (outputs, batch) ->
            AnswerMetrics.differences(outputs, batch.answers(), batch.wrongAnswers(), scale));
  }

  /** The value of the answers, {@link AnswerMetrics#values}. */
  static PromptMetric answerValue(AnswerScale scale) {
    Objects.requireNonNull(scale, "scale");
    return named(
        words(scale) + " of the answer",
        (outputs, batch) -> AnswerMetrics.values(outputs, batch.answers(), scale));
  }

  /**
   * A metric of one's own.
   *
   * @param name for tables
   * @param values one number for each prompt
   */
  static PromptMetric named(String name, Values values) {
    Objects.requireNonNull(name, "name");
    Objects.requireNonNull(values, "values");
    return new PromptMetric() {

      @Override
      public String name() {
        return name;
      }

      @Override
      public double[] values(Logits outputs, PromptPairBatch batch) {
        return values.of(outputs, batch);
      }

      @Override
      public String toString() {
        return name;
      }
    };
  }

  /** Computes a metric. */
  @FunctionalInterface
  interface Values {

    /** One number for each prompt. */
    double[] of(Logits outputs, PromptPairBatch batch);
  }

  private static String words(AnswerScale scale) {
    return scale.name().toLowerCase(Locale.ROOT).replace('_', ' ');
  }
}
