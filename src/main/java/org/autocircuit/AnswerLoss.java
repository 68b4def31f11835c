package org.autocircuit;

import java.util.Objects;
import java.util.Optional;
import org.bytedeco.pytorch.Tensor;

/**
 * A loss on the logits of the last position: first a function of the logits, then one of the values
 * that the answers take.
 *
 * @param gradFunction what is done to the logits
 * @param answerFunction what is done to the answers' values
 * @param answers answer tokens {@code [batch][k]}; negative ones are padding
 * @param wrongAnswers wrong answer tokens {@code [batch][k]}; negative ones are padding; not read
 *     unless the loss is a difference
 * @param targets for {@link AnswerFunction#MSE}: {@code [batch, d_vocab]}; must live as long as
 *     this is used
 */
public record AnswerLoss(
    GradFunction gradFunction,
    AnswerFunction answerFunction,
    long[][] answers,
    long[][] wrongAnswers,
    Optional<Tensor> targets) {

  /** What is done to the logits. */
  public enum GradFunction {
    /** Nothing. */
    LOGIT,
    /** Softmax. */
    PROB,
    /** Logarithm of the softmax. */
    LOGPROB,
    /** Softmax whose denominator counts as a constant. */
    LOGIT_EXP
  }

  /** What is done to the answers' values. */
  public enum AnswerFunction {
    /** Minus the mean over prompts of (mean of the answers - mean of the wrong answers). */
    AVG_DIFF,
    /** Minus the mean over prompts of the mean of the answers. */
    AVG_VAL,
    /** Mean squared difference to given values, over prompts and vocabulary. */
    MSE
  }

  /** Checks that nothing is {@code null}, and that what the loss reads is there. */
  public AnswerLoss {
    Objects.requireNonNull(gradFunction, "gradFunction");
    Objects.requireNonNull(answerFunction, "answerFunction");
    Objects.requireNonNull(answers, "answers");
    Objects.requireNonNull(wrongAnswers, "wrongAnswers");
    if (targets.isPresent() != (answerFunction == AnswerFunction.MSE)) {
      throw new IllegalArgumentException(
          "targets: expected with the answer function MSE and only then, got %s with %s"
              .formatted(targets.isPresent() ? "some" : "none", answerFunction));
    }
  }

  /** A loss on the values of answers. */
  public static AnswerLoss of(
      GradFunction gradFunction,
      AnswerFunction answerFunction,
      long[][] answers,
      long[][] wrongAnswers) {
    return new AnswerLoss(gradFunction, answerFunction, answers, wrongAnswers, Optional.empty());
  }

  /** The mean squared difference to targets {@code [batch, d_vocab]}. */
  public static AnswerLoss mse(GradFunction gradFunction, Tensor targets) {
    return new AnswerLoss(
        gradFunction, AnswerFunction.MSE, new long[0][], new long[0][], Optional.of(targets));
  }
}
