package org.autocircuit.generate;

/**
 * Chooses the tokens of one answer, for what {@link Sampling} does not do: a bias of some logits, a
 * grammar. It is called on the generator's thread, once for each token, so it should take
 * microseconds; what it throws ends its own request and no other.
 */
@FunctionalInterface
public interface TokenSampler {

  /**
   * Chooses a token.
   *
   * @param logits {@code [d_vocab]}, of the position before the token; may be written into, so that
   *     one sampler can change them and leave the choice to another
   * @param step 0 for the first token of the answer, then one more each
   * @return 0 to {@code d_vocab - 1}
   */
  int next(double[] logits, int step);
}
