package org.autocircuit.internal.run;

import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.internal.TokenRows;
import org.autocircuit.model.ModelConfig;
import org.autocircuit.model.TransformerConfig;
import org.bytedeco.pytorch.Tensor;

/** Says what a loss compares logits with, checked, as tensors of the innermost scope. */
final class AnswerTokens {

  private final Tensor answers;
  private final Tensor wrongAnswers;

  AnswerTokens(
      AnswerLoss loss, long batch, long vocabulary, PassArguments arguments, String device) {
    if (loss.targets().isPresent()) {
      answers = arguments.targets(loss.targets().get(), batch, vocabulary);
      wrongAnswers = null;
    } else {
      answers = TokenRows.of("answers", loss.answers(), batch, vocabulary, device);
      wrongAnswers =
          loss.answerFunction() == AnswerFunction.AVG_DIFF
              ? TokenRows.of("wrong answers", loss.wrongAnswers(), batch, vocabulary, device)
              : null;
    }
  }

  /** Returns how many logits a position has: a micro model's are its residual stream. */
  static long vocabulary(ModelConfig config) {
    return config instanceof TransformerConfig transformer ? transformer.dVocab() : config.dModel();
  }

  Tensor answers() {
    return answers;
  }

  Tensor wrongAnswers() {
    return wrongAnswers;
  }
}
