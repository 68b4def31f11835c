package org.autocircuit.data;

import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.function.Function;
import org.autocircuit.internal.Figures;

/**
 * Prompt pairs as tokens. The prompts of a pair are equally long; where those of different pairs
 * are not, models pad the shorter ones on the left, so that all end at the same position. Immutable
 * as long as nobody writes to the arrays, which are handed out without a copy.
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
  private final int seqLength;
  private final int divergeIndex;

  /**
   * Makes a batch of tokens; {@link PromptBatches} does this from texts.
   *
   * @param pairs the texts, one pair per row
   * @param clean {@code [batch][seq of each]}
   * @param corrupt {@code [batch][seq of each]}
   * @param answers one row per pair, of any lengths
   * @param wrongAnswers one row per pair, of any lengths
   * @throws IllegalArgumentException if the counts differ, or the lengths of the prompts of a pair
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
          "expected one row per pair in each array, got %s pairs and %s, %s, %s, %s rows"
              .formatted(batch, clean.length, corrupt.length, answers.length, wrongAnswers.length));
    }
    int longest = 0;
    for (int row = 0; row < batch; row++) {
      PromptPair pair = pairs.get(row);
      if (clean[row].length != corrupt[row].length) {
        throw new IllegalArgumentException(
            "pair %s: corrupt has %s, clean has %s: \"%s\"; clean: \"%s\""
                .formatted(
                    row,
                    Figures.count(corrupt[row].length, "token"),
                    clean[row].length,
                    pair.corrupt(),
                    pair.clean()));
      }
      longest = Math.max(longest, clean[row].length);
    }
    this.pairs = List.copyOf(pairs);
    this.clean = clean;
    this.corrupt = corrupt;
    this.answers = padded(answers);
    this.wrongAnswers = padded(wrongAnswers);
    this.seqLength = longest;
    this.divergeIndex = divergeIndex(clean, corrupt, longest);
    this.key = BatchKey.of(clean, corrupt, this.answers, this.wrongAnswers);
  }

  /**
   * Joins batches into one, of all pairs in their order. Where the lengths of prompts differ,
   * models pad the shorter ones.
   *
   * @param batches at least one; a single one is returned as it is
   * @throws IllegalArgumentException if there is none
   */
  public static PromptPairBatch join(Collection<? extends PromptPairBatch> batches) {
    if (batches.isEmpty()) {
      throw new IllegalArgumentException("batches: expected at least one, got none");
    }
    List<PromptPairBatch> parts = List.copyOf(batches);
    if (parts.size() == 1) {
      return parts.get(0);
    }
    return new PromptPairBatch(
        parts.stream().flatMap(part -> part.pairs.stream()).toList(),
        rows(parts, part -> part.clean),
        rows(parts, part -> part.corrupt),
        rows(parts, part -> part.answers),
        rows(parts, part -> part.wrongAnswers));
  }

  private static long[][] rows(
      List<PromptPairBatch> parts, Function<PromptPairBatch, long[][]> of) {
    return parts.stream().map(of).flatMap(Arrays::stream).toArray(long[][]::new);
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
  private static int divergeIndex(long[][] clean, long[][] corrupt, int seqLength) {
    int smallest = Integer.MAX_VALUE;
    for (int row = 0; row < clean.length; row++) {
      int differs = Arrays.mismatch(clean[row], corrupt[row]);
      int padding = seqLength - clean[row].length;
      smallest = Math.min(smallest, differs < 0 ? 0 : padding + differs);
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

  /** Tokens of the clean prompts without padding, {@code [batch][seq of each]}. */
  public long[][] clean() {
    return clean;
  }

  /** Tokens of the corrupt prompts without padding, {@code [batch][seq of each]}. */
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

  /** Returns whether every pair has a wrong answer to compare the right ones with. */
  public boolean haveWrongAnswers() {
    return pairs.stream().noneMatch(pair -> pair.wrongAnswers().isEmpty());
  }

  /**
   * The first position at which clean and corrupt differ in any row, padding counted: before it
   * both runs are the same. 0 if some row does not differ at all.
   */
  public int divergeIndex() {
    return divergeIndex;
  }

  /** Number of pairs. */
  public int size() {
    return clean.length;
  }

  /** Tokens of the longest prompt: what the others are padded to. */
  public int seqLength() {
    return seqLength;
  }

  @Override
  public String toString() {
    return "PromptPairBatch[%s, %s x %s]".formatted(key, size(), seqLength());
  }
}
