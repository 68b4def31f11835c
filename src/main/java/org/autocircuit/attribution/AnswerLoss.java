package org.autocircuit.attribution;

import java.util.Arrays;
import java.util.Objects;
import java.util.Optional;
import org.autocircuit.internal.Arguments;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.NativeCodes;
import org.autocircuit.internal.NativeMath;
import org.autocircuit.internal.TokenRows;
import org.bytedeco.pytorch.Tensor;

/**
 * A loss on the logits of the last position: first a function of the logits, then one of the values
 * that the answers take. Immutable; arrays are copied in and out.
 */
public final class AnswerLoss {

  /** Says what is done to the logits. */
  public enum GradFunction {
    /** Nothing. */
    LOGIT("logits"),
    /** Softmax. */
    PROB("probabilities"),
    /** Logarithm of the softmax. */
    LOGPROB("nats"),
    /** Softmax whose denominator counts as a constant. */
    LOGIT_EXP("probabilities");

    private final String unit;

    GradFunction(String unit) {
      this.unit = unit;
    }

    /** Returns what the values are numbers of, in the plural. */
    public String unit() {
      return unit;
    }
  }

  /** Says what is done to the answers' values. */
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

  /** Returns what is done to the logits. */
  public GradFunction gradFunction() {
    return gradFunction;
  }

  /** Returns what is done to the answers' values. */
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

  /** Returns what the logits are compared with; present for {@link AnswerFunction#MSE}. */
  public Optional<Tensor> targets() {
    return targets;
  }

  /**
   * The loss of the same prompts in one run or several; differentiable. It is the one that {@code
   * PatchableModel.maskGradient} goes down.
   *
   * @param logits of the last position, {@code [batch, d_vocab]}, or {@code [runs, batch, d_vocab]}
   * @return without dimensions, or {@code [runs]}; of the logits' type, or 32-bit floats where that
   *     has 16 bits; in the caller's innermost {@code PointerScope}
   * @throws IllegalArgumentException if answers or targets do not fit the logits
   */
  public Tensor loss(Tensor logits) {
    try (CallScope scope = new CallScope()) {
      long dim = Arguments.live("logits", logits).dim();
      if (dim != 2 && dim != 3) {
        throw new IllegalArgumentException(
            "logits: expected shape [batch, d_vocab] or [runs, batch, d_vocab], got "
                + Arrays.toString(logits.shape()));
      }
      Tensor right;
      Tensor wrong = null;
      if (targets.isPresent()) {
        long[] shape = Arrays.copyOfRange(logits.shape(), (int) dim - 2, (int) dim);
        Arguments.live("targets", targets.get());
        Arguments.shape("targets", targets.get(), "[batch, d_vocab]", shape);
        right = targets.get().to(logits.scalar_type());
      } else {
        right = rows("answers", answers, logits);
        if (answerFunction == AnswerFunction.AVG_DIFF) {
          wrong = rows("wrong answers", wrongAnswers, logits);
        }
      }
      return scope.handOut(
          NativeMath.answerLoss(
              logits, NativeCodes.of(gradFunction), NativeCodes.of(answerFunction), right, wrong));
    }
  }

  private static Tensor rows(String name, long[][] answers, Tensor logits) {
    return TokenRows.of(
        name, answers, logits.size(-2), logits.size(-1), Arguments.deviceOf(logits));
  }

  private static long[][] copy(long[][] rows) {
    return Arrays.stream(rows).map(long[]::clone).toArray(long[][]::new);
  }
}
