package org.autocircuit.text;

import java.util.Locale;

/**
 * A token that may come next.
 *
 * @param id its number in the vocabulary
 * @param spelling how people can read it, in quotation marks, with what does not show escaped:
 *     {@code ' Mary'}. Different tokens never read alike
 * @param text the same without quotation marks and escapes, to go on with; different tokens may
 *     have the same, see {@link org.autocircuit.tokenizer.Tokenizer#text}
 * @param logit what the model puts out for it
 * @param probability 0 to 1; those of all tokens sum to 1
 */
public record NextToken(long id, String spelling, String text, double logit, double probability) {

  /** The spelling and the probability: {@code ' Mary' 93.10 %}. */
  @Override
  public String toString() {
    return String.format(Locale.ROOT, "%s %.2f %%", spelling, 100 * probability);
  }
}
