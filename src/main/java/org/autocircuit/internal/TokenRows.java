package org.autocircuit.internal;

import org.bytedeco.pytorch.Tensor;

/** Rows of tokens in which negative numbers are padding. */
public final class TokenRows {

  private TokenRows() {}

  /** A row {@code [k]} for each prompt, checked, as a tensor {@code [batch, k]}. */
  public static Tensor of(
      String name, long[][] tokens, long batch, long vocabulary, String device) {
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
