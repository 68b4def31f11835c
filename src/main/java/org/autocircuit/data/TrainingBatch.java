package org.autocircuit.data;

import java.util.Arrays;
import java.util.List;
import org.autocircuit.tokenizer.WordLevelVocabulary;

/**
 * Sentences as rows of tokens for next-token training, padded on the right to the longest.
 *
 * <p>A row is the end-of-text token, which also begins a sequence, and the sentence; its targets
 * are the same shifted by one, ending with end-of-text. Padding has end-of-text as token (with
 * causal attention it changes nothing before it) and {@link #IGNORED} as target.
 *
 * @param tokens {@code [batch][seq]}; not copied
 * @param targets {@code [batch][seq]}, the token that follows each token, or {@link #IGNORED}; not
 *     copied
 */
@SuppressWarnings("ArrayRecordComponent") // plain data for native code; compared by nobody
public record TrainingBatch(long[][] tokens, long[][] targets) {

  /** Target of positions that do not count; the value that LibTorch's cross entropy ignores. */
  public static final long IGNORED = -100;

  /**
   * Tokenises sentences.
   *
   * @param sentences at least one
   * @param vocabulary has every word of them
   * @throws IllegalArgumentException if it has not, or there are no sentences
   */
  public static TrainingBatch of(List<Sentence> sentences, WordLevelVocabulary vocabulary) {
    if (sentences.isEmpty()) {
      throw new IllegalArgumentException("a training batch needs at least one sentence");
    }
    long[][] words =
        sentences.stream().map(sentence -> vocabulary.ids(sentence.text())).toArray(long[][]::new);
    int seq = 1 + Arrays.stream(words).mapToInt(row -> row.length).max().orElseThrow();
    long[][] tokens = new long[words.length][seq];
    long[][] targets = new long[words.length][seq];
    for (int row = 0; row < words.length; row++) {
      int length = words[row].length;
      Arrays.fill(tokens[row], vocabulary.endOfText());
      Arrays.fill(targets[row], IGNORED);
      System.arraycopy(words[row], 0, tokens[row], 1, length);
      System.arraycopy(words[row], 0, targets[row], 0, length);
      targets[row][length] = vocabulary.endOfText();
    }
    return new TrainingBatch(tokens, targets);
  }
}
