package org.autocircuit.cli;

import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.eval.AnswerScale;
import org.autocircuit.eval.PromptMetric;

/** Says in what the answers are compared. */
enum Metric {
  LOGIT(GradFunction.LOGIT, AnswerScale.LOGIT, "logit difference", "answer's logit"),
  LOGPROB(
      GradFunction.LOGPROB,
      AnswerScale.LOG_PROBABILITY,
      "difference of log-probabilities",
      "answer's log-probability"),
  PROB(
      GradFunction.PROB,
      AnswerScale.PROBABILITY,
      "difference of probabilities",
      "answer's probability");

  private final GradFunction gradFunction;
  private final AnswerScale scale;
  private final String difference;
  private final String value;

  Metric(GradFunction gradFunction, AnswerScale scale, String difference, String value) {
    this.gradFunction = gradFunction;
    this.scale = scale;
    this.difference = difference;
    this.value = value;
  }

  GradFunction gradFunction() {
    return gradFunction;
  }

  /** Measures circuits by it, for prompts with wrong answers or without. */
  PromptMetric ofPrompts(boolean wrongAnswers) {
    return wrongAnswers ? PromptMetric.answerDifference(scale) : PromptMetric.answerValue(scale);
  }

  /** Names it, for prompts with wrong answers or without. */
  String describe(boolean wrongAnswers) {
    return wrongAnswers ? difference : value;
  }

  /** Returns it as people type it. */
  @Override
  public String toString() {
    return Names.typed(this);
  }
}
