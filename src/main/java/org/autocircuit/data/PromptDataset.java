package org.autocircuit.data;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Path;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.autocircuit.exception.PromptDatasetException;
import org.autocircuit.internal.AtomicFile;

/**
 * Prompt pairs, and optionally what their positions mean. Reads and writes AutoCircuit's dataset
 * JSON:
 *
 * <pre>{@code
 * {
 *   "seq_labels": ["When", "name", ...],     optional: one label per position
 *   "word_idxs": {"end": 13},                optional: positions with a name
 *   "prompts": [
 *     {"clean": "...", "corrupt": "...", "answers": [" Mary"], "wrong_answers": [" John"]}
 *   ]
 * }
 * }</pre>
 *
 * <p>Positions are counted without a beginning-of-sequence token; {@link PromptBatches} shifts them
 * if it adds one. As in the original, a prompt may be an array of token ids ({@code [464, 3290]})
 * and an answer an id; ids are taken as they are, without a beginning-of-sequence token. An answer
 * may also be a token as the vocabulary spells it: {@code {"token": "▁s"}}. Immutable.
 *
 * @param seqLabels a label per position; empty: no labels
 * @param wordIdxs positions by name, in the file's order; empty: no names
 * @param prompts the pairs
 * @param source what messages call it, such as the file; empty if it was made in memory. Not part
 *     of what makes datasets equal
 */
public record PromptDataset(
    List<String> seqLabels,
    Map<String, Integer> wordIdxs,
    List<PromptPair> prompts,
    String source) {

  /**
   * Copies the collections.
   *
   * @throws IllegalArgumentException if there are no prompts or a position is negative
   */
  public PromptDataset {
    if (prompts.isEmpty()) {
      throw new IllegalArgumentException("a dataset needs at least one prompt pair");
    }
    wordIdxs.forEach(
        (name, position) -> {
          if (position < 0) {
            throw new IllegalArgumentException(
                "position of %s must not be negative, got %s".formatted(name, position));
          }
        });
    seqLabels = List.copyOf(seqLabels);
    wordIdxs = Collections.unmodifiableMap(new LinkedHashMap<>(wordIdxs));
    prompts = List.copyOf(prompts);
  }

  /** A dataset made in memory. */
  public PromptDataset(
      List<String> seqLabels, Map<String, Integer> wordIdxs, List<PromptPair> prompts) {
    this(seqLabels, wordIdxs, prompts, "");
  }

  /** A dataset made in memory, without labels. */
  public PromptDataset(List<PromptPair> prompts) {
    this(List.of(), Map.of(), prompts);
  }

  /**
   * Reads a file.
   *
   * @throws PromptDatasetException naming the file, the place in it (for instance {@code
   *     prompts[3].answers}), what was met and what is expected
   */
  public static PromptDataset read(Path file) {
    return read(file, Integer.MAX_VALUE);
  }

  /**
   * Reads the first pairs of a file, and no more of it than that needs: what follows them is not
   * checked. Labels and positions count if they stand before the prompts, where {@link #write} puts
   * them; a file that has them at its end is refused if it has more pairs than the limit.
   *
   * @param limit most pairs, at least 1
   * @throws PromptDatasetException as {@link #read(Path)}, for what is read
   */
  public static PromptDataset read(Path file, int limit) {
    if (limit < 1) {
      throw new IllegalArgumentException("limit must be at least 1, got " + limit);
    }
    return PromptDatasetJson.read(file, limit);
  }

  /**
   * Reads a stream to its end; the caller closes it.
   *
   * @param stream UTF-8 JSON
   * @param name what messages call it
   * @throws PromptDatasetException as {@link #read(Path)}
   */
  public static PromptDataset read(InputStream stream, String name) {
    return PromptDatasetJson.read(stream, name);
  }

  /**
   * Writes a file that {@link #read(Path)} and the original read back, in place of an older one
   * when it is complete.
   *
   * @throws PromptDatasetException if writing fails
   */
  public void write(Path file) {
    try {
      AtomicFile.write(file, PromptDatasetJson.write(this));
    } catch (IOException e) {
      throw new PromptDatasetException(e.getMessage(), e);
    }
  }

  /** Number of prompt pairs. */
  public int size() {
    return prompts.size();
  }

  /**
   * The pairs {@code [begin, end)} with the same labels, for instance to keep some for testing.
   *
   * @throws IndexOutOfBoundsException if the range is not inside the dataset
   */
  public PromptDataset slice(int begin, int end) {
    Objects.checkFromToIndex(begin, end, size());
    String part = begin == 0 ? source : source + " from prompts[%s] on".formatted(begin);
    return new PromptDataset(seqLabels, wordIdxs, prompts.subList(begin, end), part.strip());
  }

  /** The same pairs in the order of {@link SeededShuffle}, the original's for the same seed. */
  public PromptDataset shuffled(long seed) {
    String part = (source + " shuffled with seed " + seed).strip();
    return new PromptDataset(seqLabels, wordIdxs, SeededShuffle.shuffled(prompts, seed), part);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof PromptDataset that
        && seqLabels.equals(that.seqLabels)
        && wordIdxs.equals(that.wordIdxs)
        && prompts.equals(that.prompts);
  }

  @Override
  public int hashCode() {
    return Objects.hash(seqLabels, wordIdxs, prompts);
  }
}
