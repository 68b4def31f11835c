package org.autocircuit.generate;

import org.autocircuit.internal.Numbers;

/**
 * Positions at which something is done. They count from the prompt's first token at 0; the answer's
 * first token is at the position behind the prompt, and is chosen by the logits of the prompt's
 * last one.
 *
 * @param begin the first position, or {@link #ANSWER_BEGIN}
 * @param end the position behind the last one, or {@link #ANSWER_BEGIN}
 */
public record Span(int begin, int end) {

  /** Stands for the position of the answer's first token, which each request has its own of. */
  public static final int ANSWER_BEGIN = -1;

  /** All positions. */
  public static final Span ALL = new Span(0, Integer.MAX_VALUE);

  /** The prompt only. */
  public static final Span PROMPT = new Span(0, ANSWER_BEGIN);

  /** The answer only. */
  public static final Span ANSWER = new Span(ANSWER_BEGIN, Integer.MAX_VALUE);

  /**
   * Checks the positions.
   *
   * @throws IllegalArgumentException if one is negative, or none is between them
   */
  public Span {
    Numbers.atLeast(ANSWER_BEGIN, "begin", begin);
    Numbers.atLeast(ANSWER_BEGIN, "end", end);
    if (end != ANSWER_BEGIN && begin >= end) {
      throw new IllegalArgumentException(
          "span: expected an end behind its begin, got %s to %s".formatted(begin, end));
    }
  }

  /** From a position on. */
  public static Span from(int begin) {
    return new Span(begin, Integer.MAX_VALUE);
  }

  /** All positions before one. */
  public static Span until(int end) {
    return new Span(0, end);
  }

  /** The first position, for a prompt of this length. */
  int begin(int prompt) {
    return begin == ANSWER_BEGIN ? prompt : begin;
  }

  int end(int prompt) {
    return end == ANSWER_BEGIN ? prompt : end;
  }

  boolean contains(int position, int prompt) {
    return position >= begin(prompt) && position < end(prompt);
  }
}
