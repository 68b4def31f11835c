package org.autocircuit.generate;

/**
 * One token of an answer.
 *
 * @param id 0 to {@code d_vocab - 1}
 * @param logProb the logarithm of the probability that the model, patched as the request says, gave
 *     the token, before temperature, top-k and top-p
 * @param position counted from the prompt's first token at 0
 */
public record GeneratedToken(int id, double logProb, int position) {}
