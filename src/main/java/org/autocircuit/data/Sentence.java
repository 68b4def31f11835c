package org.autocircuit.data;

/**
 * A generated sentence, cut before the word that a model should be able to tell.
 *
 * @param pattern what makes the answer predictable
 * @param prompt everything before the answer, without a space at the end
 * @param answer one word
 */
public record Sentence(Pattern pattern, String prompt, String answer) {

  /** The kinds of sentences that {@link IndirectObjectSentences} mixes. */
  public enum Pattern {
    /**
     * "When Mary and John went to the store, John gave a drink to" → "Mary": of the two names, the
     * one that was not repeated. Both orders of the names appear.
     */
    INDIRECT_OBJECT,
    /**
     * The same with a third person as subject: either of the first two names may follow, so the
     * answer cannot be told. It makes corrupt prompts nothing new to the model.
     */
    THREE_NAMES,
    /** "The dogs near the baker" → "bark": the subject, not the nearest noun, decides. */
    AGREEMENT,
    /** "ring Anna map ring Anna" → "map": a random sequence goes on as before. */
    REPETITION,
    /** "Hello Mary, hello John. Goodbye Mary, goodbye" → "John". */
    GREETING,
    /** "Tuesday Wednesday Thursday" → "Friday": days, months and numbers, round in a circle. */
    COUNTING
  }

  /** The whole sentence. */
  public String text() {
    return prompt + " " + answer + ".";
  }
}
