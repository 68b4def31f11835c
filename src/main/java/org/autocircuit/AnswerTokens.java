package org.autocircuit;

import org.autocircuit.AnswerLoss.AnswerFunction;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.ModelConfig;
import org.autocircuit.model.TransformerConfig;
import org.bytedeco.pytorch.Tensor;

/** What a loss compares logits with, checked, as tensors of the innermost scope. */
final class AnswerTokens {

  private final Tensor answers;
  private final Tensor wrongAnswers;

  AnswerTokens(
      AnswerLoss loss, long batch, long vocabulary, PassArguments arguments, String device) {
    if (loss.targets().isPresent()) {
      answers = arguments.targets(loss.targets().get(), batch, vocabulary);
      wrongAnswers = null;
    } else {
      answers = tokens("answers", loss.answers(), batch, vocabulary, device);
      wrongAnswers =
          loss.answerFunction() == AnswerFunction.AVG_DIFF
              ? tokens("wrong answers", loss.wrongAnswers(), batch, vocabulary, device)
              : null;
    }
  }

  /** How many logits a position has: a micro model's are its residual stream. */
  static long vocabulary(ModelConfig config) {
    return config instanceof TransformerConfig transformer ? transformer.dVocab() : config.dModel();
  }

  Tensor answers() {
    return answers;
  }

  Tensor wrongAnswers() {
    return wrongAnswers;
  }

  /** Tokens {@code [batch, k]}, checked. */
  static Tensor tokens(String name, long[][] tokens, long batch, long vocabulary, String device) {
    if (tokens.length != batch) {
      throw new IllegalArgumentException(
          "%s: expected a row for each of %s prompts, got %s"
              .formatted(name, batch, tokens.length));
    }
    for (int row = 0; row < tokens.length; row++) {
      int real = 0;
      for (long token : tokens[row]) {
        if (token >= vocabulary) {
          throw new IllegalArgumentException(
              "%s: expected tokens below %s, got %s in row %s"
                  .formatted(name, vocabulary, token, row));
        }
        real += token >= 0 ? 1 : 0;
      }
      if (real == 0) {
        throw new IllegalArgumentException(
            "%s: expected at least one token in each row, got none in row %s".formatted(name, row));
      }
    }
    return TensorArrays.of(tokens, name, device);
  }
}
