package org.autocircuit.eval;

import java.util.Locale;
import org.autocircuit.data.PromptPairBatch;

/**
 * Says how far outputs agree with the answers of prompts: one number for each prompt, to be
 * averaged as the caller likes.
 *
 * <p>Answers are tokens {@code [batch][answers]}; rows may differ in length, and end early where
 * they hold {@link PromptPairBatch#NO_ANSWER}. Outputs are those of one position for each prompt.
 *
 * <p>Averages over several batches are taken over prompts; the original averages the means of
 * batches, which is the same where batches are equally large.
 */
public final class AnswerMetrics {

  private AnswerMetrics() {}

  /**
   * The value of each prompt's answers, averaged over its answers. The mean over prompts is the
   * original's {@code batch_avg_answer_val}.
   *
   * @return one number for each prompt; NaN for a prompt without answers
   * @throws IllegalArgumentException if there are not as many rows of answers as prompts, outputs
   *     of several positions, or tokens outside of the vocabulary
   */
  public static double[] values(Logits outputs, long[][] answers, AnswerScale scale) {
    check(outputs, answers);
    double[] values = new double[outputs.batch()];
    for (int row = 0; row < values.length; row++) {
      values[row] = mean(scale.of(outputs, row), answers[row]);
    }
    return values;
  }

  /**
   * The value of each prompt's answers less that of its wrong answers: the logit difference, if the
   * scale is {@link AnswerScale#LOGIT}. The original's {@code batch_answer_diffs}; its mean is
   * {@code batch_avg_answer_diff}.
   *
   * @return one number for each prompt; for a prompt without wrong answers the value of its answers
   * @throws IllegalArgumentException as {@link #values}
   */
  public static double[] differences(
      Logits outputs, long[][] answers, long[][] wrongAnswers, AnswerScale scale) {
    check(outputs, answers);
    check(outputs, wrongAnswers);
    double[] differences = new double[outputs.batch()];
    for (int row = 0; row < differences.length; row++) {
      double[] values = scale.of(outputs, row);
      double wrong = count(wrongAnswers[row]) == 0 ? 0 : mean(values, wrongAnswers[row]);
      differences[row] = mean(values, answers[row]) - wrong;
    }
    return differences;
  }

  /**
   * Returns whether the most probable token is an answer. The share of such prompts is the
   * original's {@code correct_answer_proportion}, which refuses prompts of several answers.
   *
   * @throws IllegalArgumentException as {@link #values}
   * @throws org.autocircuit.exception.NotFiniteException if a logit is NaN
   */
  public static boolean[] isTop(Logits outputs, long[][] answers) {
    check(outputs, answers);
    boolean[] correct = new boolean[outputs.batch()];
    for (int row = 0; row < correct.length; row++) {
      int top = outputs.topToken(row);
      for (int i = 0; i < count(answers[row]); i++) {
        correct[row] |= answers[row][i] == top;
      }
    }
    return correct;
  }

  /**
   * Returns whether the best answer has a greater logit than every wrong answer. The share of such
   * prompts is the original's {@code correct_answer_greater_than_incorrect_proportion}, which
   * refuses prompts of several answers.
   *
   * @throws IllegalArgumentException as {@link #values}
   * @throws org.autocircuit.exception.NotFiniteException if a logit is NaN
   */
  public static boolean[] beatsWrong(Logits outputs, long[][] answers, long[][] wrongAnswers) {
    check(outputs, answers);
    check(outputs, wrongAnswers);
    boolean[] correct = new boolean[outputs.batch()];
    for (int row = 0; row < correct.length; row++) {
      outputs.requireNumbers(row);
      correct[row] = best(outputs, row, answers[row]) > best(outputs, row, wrongAnswers[row]);
    }
    return correct;
  }

  private static double best(Logits outputs, int row, long[] tokens) {
    double best = Double.NEGATIVE_INFINITY;
    for (int i = 0; i < count(tokens); i++) {
      best = Math.max(best, outputs.get(row, (int) tokens[i]));
    }
    return best;
  }

  private static double mean(double[] values, long[] tokens) {
    double sum = 0;
    int count = count(tokens);
    for (int i = 0; i < count; i++) {
      sum += values[(int) tokens[i]];
    }
    return sum / count;
  }

  private static int count(long[] tokens) {
    int count = 0;
    while (count < tokens.length && tokens[count] != PromptPairBatch.NO_ANSWER) {
      count++;
    }
    return count;
  }

  private static void check(Logits outputs, long[][] answers) {
    if (outputs.positions() != 1) {
      throw new IllegalArgumentException(
          "answers are compared with the logits of one position, got those of %s positions"
              .formatted(outputs.positions()));
    }
    if (answers.length != outputs.batch()) {
      throw new IllegalArgumentException(
          "expected one row of answers for each of %s prompts, got %s rows"
              .formatted(outputs.batch(), answers.length));
    }
    for (int row = 0; row < answers.length; row++) {
      for (int i = 0; i < count(answers[row]); i++) {
        if (answers[row][i] < 0 || answers[row][i] >= outputs.vocabulary()) {
          throw new IllegalArgumentException(
              String.format(
                  Locale.ROOT,
                  "answer token %d of prompt %d is not in the vocabulary of %,d tokens",
                  answers[row][i],
                  row,
                  outputs.vocabulary()));
        }
      }
    }
  }
}
