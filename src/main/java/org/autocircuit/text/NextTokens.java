package org.autocircuit.text;

import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import org.autocircuit.eval.Logits;
import org.autocircuit.tokenizer.Tokenizer;

/**
 * Says how probable each token of the vocabulary is as the next one. Plain Java data, nothing to
 * close: it stays readable when the model is closed. Immutable, safe to share between threads.
 */
public final class NextTokens {

  private static final int SHOWN = 5;

  private final Logits logits;
  private final int row;
  private final Tokenizer tokenizer;
  private final double[] probabilities;

  private NextTokens(Logits logits, int row, Tokenizer tokenizer) {
    this.logits = logits;
    this.row = row;
    this.tokenizer = tokenizer;
    probabilities = logits.probabilities(row);
  }

  /**
   * Reads one row of logits, for instance of {@code Logits.of(model.logits(tokens))}.
   *
   * @param row from 0 to {@link Logits#rows()} - 1
   * @param tokenizer that of the model; only its vocabulary is used, so it may be closed
   * @throws IndexOutOfBoundsException if there is no such row
   */
  public static NextTokens of(Logits logits, int row, Tokenizer tokenizer) {
    Objects.checkIndex(row, logits.rows());
    return new NextTokens(logits, row, Objects.requireNonNull(tokenizer, "tokenizer"));
  }

  /**
   * Returns the most probable tokens in descending order, ties in ascending order of ids.
   *
   * @param n how many, at least 1; all where the vocabulary has fewer
   * @throws org.autocircuit.exception.NotFiniteException if a logit is NaN
   */
  public List<NextToken> top(int n) {
    if (n < 1) {
      throw new IllegalArgumentException("top: expected 1 token or more, got " + n);
    }
    return Arrays.stream(logits.topTokens(row, n)).mapToObj(this::get).toList();
  }

  /**
   * Returns one token.
   *
   * @param id its number; that of an answer is {@link TextModel#answer}
   * @throws IndexOutOfBoundsException if the model has no such token
   */
  public NextToken get(long id) {
    int index = Math.toIntExact(Objects.checkIndex(id, (long) logits.vocabulary()));
    return new NextToken(
        id, tokenizer.show(id), tokenizer.text(id), logits.get(row, index), probabilities[index]);
  }

  /** The five most probable tokens. */
  @Override
  public String toString() {
    return top(SHOWN).toString();
  }
}
