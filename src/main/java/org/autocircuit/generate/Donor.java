package org.autocircuit.generate;

/** Says how the corrupt prompt goes on, whose sources patch edges of an answer. */
public enum Donor {
  /**
   * With the tokens of the answer itself, as if one pass ran over the corrupt prompt and the whole
   * answer: what a patched pass over prompt and answer compares with.
   */
  FOLLOWS,
  /**
   * With tokens of its own: an unpatched answer to the corrupt prompt, drawn as the request draws
   * its own, which goes on where others would stop.
   */
  FREE
}
