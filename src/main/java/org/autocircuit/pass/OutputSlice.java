package org.autocircuit.pass;

/** The token positions whose logits are computed; the others cost nothing. */
public enum OutputSlice {
  /** All: {@code [batch, seq, d_vocab]}. */
  ALL,
  /** The last one: {@code [batch, d_vocab]}. */
  LAST_SEQ,
  /** All but the first: {@code [batch, seq - 1, d_vocab]}. */
  NOT_FIRST_SEQ
}
