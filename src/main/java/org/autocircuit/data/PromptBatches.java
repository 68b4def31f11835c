package org.autocircuit.data;

import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import org.autocircuit.internal.Components;
import org.autocircuit.tokenizer.Tokenizer;

/**
 * A dataset cut into batches of tokens. Everything is tokenised when this object is made; it holds
 * plain Java data and needs no closing. Immutable, safe to share between threads.
 *
 * <pre>{@code
 * PromptBatches batches = PromptBatches.of(PromptDataset.read(file), tokenizer, 8);
 * for (PromptPairBatch batch : batches) { … }
 * }</pre>
 *
 * <p>Unlike the original this keeps a last batch that is not full; {@link Options#dropPartial}
 * drops it and {@link #droppedPrompts()} says how many prompts that cost. Answers never get a
 * beginning-of-sequence token.
 */
public final class PromptBatches implements Iterable<PromptPairBatch> {

  /** The label of the position that a beginning-of-sequence token takes. */
  public static final String BOS_LABEL = "<|BOS|>";

  /** Says how to cut. Immutable; {@link #ofSize} with {@code with} methods makes others. */
  public static final class Options {

    private final int batchSize;
    private final Optional<Boolean> prependBos;
    private final boolean dropPartial;
    private final boolean groupByLength;
    private final boolean pad;
    private final OptionalLong shuffleSeed;

    private Options(
        int batchSize,
        Optional<Boolean> prependBos,
        boolean dropPartial,
        boolean groupByLength,
        boolean pad,
        OptionalLong shuffleSeed) {
      if (batchSize < 1) {
        throw new IllegalArgumentException("batchSize must be positive, got " + batchSize);
      }
      if (groupByLength && pad) {
        throw new IllegalArgumentException(
            "expected groupByLength or pad, got both: batches of one length have nothing to pad");
      }
      this.batchSize = batchSize;
      this.prependBos = prependBos;
      this.dropPartial = dropPartial;
      this.groupByLength = groupByLength;
      this.pad = pad;
      this.shuffleSeed = shuffleSeed;
    }

    /** Returns the number of pairs of a full batch. */
    public int batchSize() {
      return batchSize;
    }

    /**
     * Returns whether prompts begin with the beginning-of-sequence token; empty: as {@link
     * Tokenizer#prependsBos()} says.
     */
    public Optional<Boolean> prependBos() {
      return prependBos;
    }

    /** Returns whether batches that are not full are left out. */
    public boolean dropPartial() {
      return dropPartial;
    }

    /**
     * Returns whether prompts are first sorted into groups of the same number of tokens (groups in
     * order of their first prompt, order inside a group kept).
     */
    public boolean groupByLength() {
      return groupByLength;
    }

    /**
     * Returns whether prompts that fall into one batch may differ in length, so that models pad the
     * shorter ones on the left; otherwise they must be equally long.
     */
    public boolean pad() {
      return pad;
    }

    /**
     * Returns the seed that pairs are shuffled with first, in the order of {@link SeededShuffle};
     * empty: they keep the dataset's order.
     */
    public OptionalLong shuffleSeed() {
      return shuffleSeed;
    }

    /**
     * Batches of this size, everything else at its default: keep partial batches and the order.
     *
     * @throws IllegalArgumentException if the size is not positive
     */
    public static Options ofSize(int batchSize) {
      return new Options(batchSize, Optional.empty(), false, false, false, OptionalLong.empty());
    }

    /** The same with this choice for the beginning-of-sequence token. */
    public Options withPrependBos(boolean value) {
      return new Options(
          batchSize, Optional.of(value), dropPartial, groupByLength, pad, shuffleSeed);
    }

    /** The same, leaving out batches that are not full. */
    public Options withDropPartial() {
      return new Options(batchSize, prependBos, true, groupByLength, pad, shuffleSeed);
    }

    /**
     * The same, sorting prompts by their number of tokens.
     *
     * @throws IllegalArgumentException with {@link #withPadding()}: it leaves nothing to pad
     */
    public Options withGroupByLength() {
      return new Options(batchSize, prependBos, dropPartial, true, pad, shuffleSeed);
    }

    /**
     * The same, padding prompts that are shorter than others of their batch.
     *
     * @throws IllegalArgumentException with {@link #withGroupByLength()}, which leaves nothing to
     *     pad
     */
    public Options withPadding() {
      return new Options(batchSize, prependBos, dropPartial, groupByLength, true, shuffleSeed);
    }

    /** The same, shuffling with this seed. */
    public Options withShuffle(long seed) {
      return new Options(
          batchSize, prependBos, dropPartial, groupByLength, pad, OptionalLong.of(seed));
    }

    @Override
    public boolean equals(Object other) {
      return other instanceof Options that && components().equals(that.components());
    }

    @Override
    public int hashCode() {
      return components().hashCode();
    }

    @Override
    public String toString() {
      return "Options" + components();
    }

    private Components components() {
      return Components.of(
          "batchSize",
          batchSize,
          "prependBos",
          prependBos,
          "dropPartial",
          dropPartial,
          "groupByLength",
          groupByLength,
          "pad",
          pad,
          "shuffleSeed",
          shuffleSeed);
    }
  }

  private final List<PromptPairBatch> batches;
  private final int droppedPrompts;
  private final List<String> seqLabels;
  private final Map<String, Integer> wordIdxs;

  PromptBatches(
      PromptDataset dataset, List<PromptTokens.Row> rows, boolean prependBos, Options options) {
    List<PromptTokens.Row> tokens =
        options.shuffleSeed().isPresent()
            ? SeededShuffle.shuffled(rows, options.shuffleSeed().getAsLong())
            : rows;
    List<List<PromptTokens.Row>> made = new ArrayList<>();
    int kept = 0;
    for (List<PromptTokens.Row> group : groups(tokens, options.groupByLength())) {
      for (int begin = 0; begin < group.size(); begin += options.batchSize()) {
        int end = Math.min(begin + options.batchSize(), group.size());
        if (end - begin == options.batchSize() || !options.dropPartial()) {
          made.add(group.subList(begin, end));
          kept += end - begin;
        }
      }
    }
    if (!options.pad()) {
      PromptChecks.requireOneLength(
          dataset.source(), made, "without padding those of a batch need one length");
    }
    this.batches = made.stream().map(PromptBatches::batch).toList();
    this.droppedPrompts = rows.size() - kept;
    this.seqLabels = shiftedLabels(dataset.seqLabels(), prependBos);
    this.wordIdxs = new LinkedHashMap<>();
    dataset.wordIdxs().forEach((name, at) -> wordIdxs.put(name, prependBos ? at + 1 : at));
  }

  /**
   * Cuts a dataset into batches of a size, with the defaults of {@link Options#ofSize}.
   *
   * @throws IllegalArgumentException as {@link #of(PromptDataset, Tokenizer, Options)}
   */
  public static PromptBatches of(PromptDataset dataset, Tokenizer tokenizer, int batchSize) {
    return of(dataset, tokenizer, Options.ofSize(batchSize));
  }

  /**
   * Cuts a dataset into batches.
   *
   * @param dataset the texts
   * @param tokenizer used here only; it can be closed afterwards
   * @param options how to cut
   * @throws org.autocircuit.exception.PromptDatasetException naming all problems of the dataset and
   *     their places: where a clean prompt and its corrupt one have different numbers of tokens, an
   *     answer is not the same single token after both, or is a wrong answer too; and (without
   *     {@link Options#groupByLength} or {@link Options#pad}) where prompts of one batch have
   *     different numbers of tokens
   */
  public static PromptBatches of(PromptDataset dataset, Tokenizer tokenizer, Options options) {
    return PromptTokens.of(
            dataset, tokenizer, options.prependBos().orElseGet(tokenizer::prependsBos))
        .batches(0, dataset.size(), options);
  }

  private static Collection<List<PromptTokens.Row>> groups(
      List<PromptTokens.Row> tokens, boolean byLength) {
    Map<Integer, List<PromptTokens.Row>> groups = new LinkedHashMap<>();
    for (PromptTokens.Row pair : tokens) {
      int group = byLength ? pair.clean().length : 0;
      groups.computeIfAbsent(group, length -> new ArrayList<>()).add(pair);
    }
    return groups.values();
  }

  private static PromptPairBatch batch(List<PromptTokens.Row> rows) {
    return new PromptPairBatch(
        rows.stream().map(PromptTokens.Row::pair).toList(),
        rows.stream().map(PromptTokens.Row::clean).toArray(long[][]::new),
        rows.stream().map(PromptTokens.Row::corrupt).toArray(long[][]::new),
        rows.stream().map(PromptTokens.Row::answers).toArray(long[][]::new),
        rows.stream().map(PromptTokens.Row::wrongAnswers).toArray(long[][]::new));
  }

  private static List<String> shiftedLabels(List<String> labels, boolean prependBos) {
    if (labels.isEmpty() || !prependBos) {
      return labels;
    }
    List<String> shifted = new ArrayList<>(List.of(BOS_LABEL));
    shifted.addAll(labels);
    return List.copyOf(shifted);
  }

  /** The batches in order. Unmodifiable. */
  public List<PromptPairBatch> batches() {
    return batches;
  }

  /**
   * Returns how many pairs of the dataset are in no batch; 0 unless partial batches are dropped.
   */
  public int droppedPrompts() {
    return droppedPrompts;
  }

  /**
   * Returns a label per token position, the beginning-of-sequence token included; empty: no labels.
   */
  public List<String> seqLabels() {
    return seqLabels;
  }

  /** Token positions by name, the beginning-of-sequence token counted. Unmodifiable. */
  public Map<String, Integer> wordIdxs() {
    return Collections.unmodifiableMap(wordIdxs);
  }

  @Override
  public Iterator<PromptPairBatch> iterator() {
    return batches.iterator();
  }
}
