package org.autocircuit.eval;

/** Says what the value of an answer is; the original's {@code prob_func}. */
public enum AnswerScale {
  /** The logit of its token. */
  LOGIT,
  /** The probability of its token. */
  PROBABILITY,
  /** The natural logarithm of that probability. */
  LOG_PROBABILITY;

  double[] of(Logits logits, int row) {
    return switch (this) {
      case LOGIT -> {
        double[] values = new double[logits.vocabulary()];
        for (int token = 0; token < values.length; token++) {
          values[token] = logits.get(row, token);
        }
        yield values;
      }
      case PROBABILITY -> logits.probabilities(row);
      case LOG_PROBABILITY -> logits.logProbabilities(row);
    };
  }
}
