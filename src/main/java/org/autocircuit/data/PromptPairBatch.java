package org.autocircuit.data;

import java.util.Arrays;
import java.util.List;

/**
 * Prompt pairs as tokens, all prompts equally long. Immutable as long as nobody writes to the
 * arrays, which are handed out without a copy.
 */
public final class PromptPairBatch {

  /** Fills the rows of {@link #answers()} and {@link #wrongAnswers()} where counts differ. */
  public static final long NO_ANSWER = -1;

  private final String key;
  private final List<PromptPair> pairs;
  private final long[][] clean;
  private final long[][] corrupt;
  private final long[][] answers;
  private final long[][] wrongAnswers;
  private final int divergeIndex;

  /**
   * Makes a batch of tokens; {@link PromptBatches} does this from texts.
   *
   * @param pairs the texts, one pair per row
   * @param clean {@code [batch][seq]}
   * @param corrupt {@code [batch][seq]}
   * @param answers one row per pair, of any lengths
   * @param wrongAnswers one row per pair, of any lengths
   * @throws IllegalArgumentException if the counts or the lengths of the prompts differ
   */
  public PromptPairBatch(
      List<PromptPair> pairs,
      long[][] clean,
      long[][] corrupt,
      long[][] answers,
      long[][] wrongAnswers) {
    int batch = pairs.size();
    if (batch == 0
        || clean.length != batch
        || corrupt.length != batch
        || answers.length != batch
        || wrongAnswers.length != batch) {
      throw new IllegalArgumentException(
          "expected one row per pair in each array, got %d pairs and %d, %d, %d, %d rows"
              .formatted(batch, clean.length, corrupt.length, answers.length, wrongAnswers.length));
    }
    for (int row = 0; row < batch; row++) {
      requireLength(pairs.get(0).clean(), clean[0].length, pairs.get(row).clean(), clean[row]);
      requireLength(pairs.get(0).clean(), clean[0].length, pairs.get(row).corrupt(), corrupt[row]);
    }
    this.pairs = List.copyOf(pairs);
    this.clean = clean;
    this.corrupt = corrupt;
    this.answers = padded(answers);
    this.wrongAnswers = padded(wrongAnswers);
    this.divergeIndex = divergeIndex(clean, corrupt);
    this.key = BatchKey.of(clean, corrupt, this.answers, this.wrongAnswers);
  }

  private static void requireLength(String first, int length, String prompt, long[] tokens) {
    if (tokens.length != length) {
      throw new IllegalArgumentException(
          "prompts of one batch must have the same number of tokens: \"%s\" has %d, \"%s\" has %d"
              .formatted(first, length, prompt, tokens.length));
    }
  }

  private static long[][] padded(long[][] rows) {
    int width = 0;
    for (long[] row : rows) {
      width = Math.max(width, row.length);
    }
    long[][] padded = new long[rows.length][];
    for (int i = 0; i < rows.length; i++) {
      padded[i] = Arrays.copyOf(rows[i], width);
      Arrays.fill(padded[i], rows[i].length, width, NO_ANSWER);
    }
    return padded;
  }

  // A pair that does not differ counts as differing at 0, as in the original: always safe.
  private static int divergeIndex(long[][] clean, long[][] corrupt) {
    int smallest = Integer.MAX_VALUE;
    for (int row = 0; row < clean.length; row++) {
      smallest = Math.min(smallest, Math.max(0, Arrays.mismatch(clean[row], corrupt[row])));
    }
    return smallest;
  }

  /**
   * Identifies the batch by its tokens: equal in every process for equal batches, unlike the
   * original's key, which is a Python hash. 16 hexadecimal digits.
   */
  public String key() {
    return key;
  }

  /** The texts, one pair per row. */
  public List<PromptPair> pairs() {
    return pairs;
  }

  /** Tokens of the clean prompts, {@code [batch][seq]}. */
  public long[][] clean() {
    return clean;
  }

  /** Tokens of the corrupt prompts, {@code [batch][seq]}. */
  public long[][] corrupt() {
    return corrupt;
  }

  /** Answer tokens, {@code [batch][most answers]}, filled with {@link #NO_ANSWER}. */
  public long[][] answers() {
    return answers;
  }

  /** Wrong answer tokens, {@code [batch][most wrong answers]}, filled with {@link #NO_ANSWER}. */
  public long[][] wrongAnswers() {
    return wrongAnswers;
  }

  /**
   * The first position at which clean and corrupt differ in any row: before it both runs are the
   * same. 0 if some row does not differ at all.
   */
  public int divergeIndex() {
    return divergeIndex;
  }

  /** Number of pairs. */
  public int size() {
    return clean.length;
  }

  /** Tokens of each prompt. */
  public int seqLength() {
    return clean[0].length;
  }

  @Override
  public String toString() {
    return "PromptPairBatch[%s, %d x %d]".formatted(key, size(), seqLength());
  }
}
