package org.autocircuit.generate;

/** Says what patches the positions behind the last one that activations are for. */
public enum Beyond {
  /** Nothing may: a request that could come there is refused. */
  REFUSE,
  /** Nothing: those positions are not patched. */
  NONE,
  /** The activations of the last position that there are. */
  HOLD_LAST
}
