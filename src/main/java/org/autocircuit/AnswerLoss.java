package org.autocircuit;

import java.util.Arrays;
import java.util.Objects;
import java.util.Optional;
import org.bytedeco.pytorch.Tensor;

/**
 * A loss on the logits of the last position: first a function of the logits, then one of the values
 * that the answers take. Immutable; arrays are copied in and out.
 */
public final class AnswerLoss {

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

  private final GradFunction gradFunction;
  private final AnswerFunction answerFunction;
  private final long[][] answers;
  private final long[][] wrongAnswers;
  private final Optional<Tensor> targets;

  private AnswerLoss(
      GradFunction gradFunction,
      AnswerFunction answerFunction,
      long[][] answers,
      long[][] wrongAnswers,
      Optional<Tensor> targets) {
    this.gradFunction = Objects.requireNonNull(gradFunction, "gradFunction");
    this.answerFunction = answerFunction;
    this.answers = copy(answers);
    this.wrongAnswers = copy(wrongAnswers);
    this.targets = targets;
  }

  /**
   * A loss on the values of answers.
   *
   * @param answers answer tokens {@code [batch][k]}; negative ones are padding
   * @param wrongAnswers wrong answer tokens {@code [batch][k]}; negative ones are padding; not read
   *     unless the loss is a difference
   * @throws IllegalArgumentException for {@link AnswerFunction#MSE}, which needs {@link #mse}
   */
  public static AnswerLoss of(
      GradFunction gradFunction,
      AnswerFunction answerFunction,
      long[][] answers,
      long[][] wrongAnswers) {
    if (Objects.requireNonNull(answerFunction, "answerFunction") == AnswerFunction.MSE) {
      throw new IllegalArgumentException("answerFunction: expected one of answers, got MSE");
    }
    return new AnswerLoss(gradFunction, answerFunction, answers, wrongAnswers, Optional.empty());
  }

  /**
   * The mean squared difference to targets.
   *
   * @param targets {@code [batch, d_vocab]}; must live as long as this is used
   */
  public static AnswerLoss mse(GradFunction gradFunction, Tensor targets) {
    return new AnswerLoss(
        gradFunction, AnswerFunction.MSE, new long[0][], new long[0][], Optional.of(targets));
  }

  /** What is done to the logits. */
  public GradFunction gradFunction() {
    return gradFunction;
  }

  /** What is done to the answers' values. */
  public AnswerFunction answerFunction() {
    return answerFunction;
  }

  /** Answer tokens {@code [batch][k]}; negative ones are padding. */
  public long[][] answers() {
    return copy(answers);
  }

  /** Wrong answer tokens {@code [batch][k]}; negative ones are padding. */
  public long[][] wrongAnswers() {
    return copy(wrongAnswers);
  }

  /** What the logits are compared with; present for {@link AnswerFunction#MSE}. */
  public Optional<Tensor> targets() {
    return targets;
  }

  private static long[][] copy(long[][] rows) {
    return Arrays.stream(rows).map(long[]::clone).toArray(long[][]::new);
  }
}
