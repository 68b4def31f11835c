package org.autocircuit.known;

/** The tasks for which there are hand-written models. */
public enum KnownTask {
  /**
   * Says a word backwards, one letter after another: {@code ^ a b c d | d} goes on with {@code c}.
   * A head of the first block finds the bar; one of the second counts as far back from it as the
   * last position is after it, and copies the letter there.
   */
  REVERSE,
  /**
   * Repeats what followed the last token when it was there before: {@code ^ a 3 b 5 c 2 a} goes on
   * with {@code 3}. A head of the first block says at each position which token came before; one of
   * the second looks for its own token there and copies.
   */
  INDUCTION,
  /**
   * Says whether as many brackets of the asked kind close as open: {@code ( [ ) ( ] ) ?[} goes on
   * with {@code yes}. A head of the first block averages over the brackets of that kind, an opening
   * one 1 and a closing one −1; the MLP takes the absolute value.
   */
  BRACKETS
}
