package org.autocircuit.cli;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.IntFunction;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.autocircuit.data.PromptBatches;
import org.autocircuit.data.PromptDataset;
import org.autocircuit.data.PromptPair;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.data.PromptTokens;
import org.autocircuit.internal.Figures;
import org.autocircuit.tokenizer.Tokenizer;

/**
 * The prompts of a discovery.
 *
 * @param name what they are called
 * @param finding the batches that the circuit is found with
 * @param testing the batches that it is tested with: others, or the same
 * @param heldOut whether they are others
 * @param tokens all of them, with what is to be said of them
 * @param seqLabels a label for each position; empty if the prompts bring no labels
 * @param warnings what is probably not meant, a line each
 */
record Prompts(
    String name,
    List<PromptPairBatch> finding,
    List<PromptPairBatch> testing,
    boolean heldOut,
    PromptTokens tokens,
    List<String> seqLabels,
    List<String> warnings) {

  /**
   * Tokenises a dataset and divides it.
   *
   * @throws IllegalArgumentException naming all problems and their places
   */
  static Prompts of(
      String name,
      PromptDataset dataset,
      int heldOut,
      Tokenizer tokenizer,
      int batchSize,
      int longest) {
    PromptTokens tokens = PromptTokens.of(dataset, tokenizer);
    tokens.check(longest);
    PromptBatches.Options options = PromptBatches.Options.ofSize(batchSize).withGroupByLength();
    int found = tokens.size() - heldOut;
    PromptBatches finding = tokens.batches(0, found, options);
    List<PromptPairBatch> testing =
        heldOut == 0 ? finding.batches() : tokens.batches(found, tokens.size(), options).batches();
    List<String> warnings = new ArrayList<>(tokens.warnings());
    if (heldOut > 0) {
      warnings.addAll(onBothSides(dataset.prompts(), found));
    }
    return new Prompts(
        name,
        finding.batches(),
        testing,
        heldOut > 0,
        tokens,
        finding.seqLabels(),
        List.copyOf(warnings));
  }

  private static List<String> onBothSides(List<PromptPair> pairs, int found) {
    Map<PromptPair, Integer> first = new HashMap<>();
    for (int i = 0; i < found; i++) {
      first.putIfAbsent(pairs.get(i), i);
    }
    List<Integer> equal =
        IntStream.range(found, pairs.size())
            .filter(i -> first.containsKey(pairs.get(i)))
            .boxed()
            .toList();
    if (equal.isEmpty()) {
      return List.of();
    }
    int i = equal.get(0);
    return List.of(
        "prompts[%s] is prompts[%s] once more, which the circuit is found with: no test (%s of %s)"
            .formatted(
                i,
                first.get(pairs.get(i)),
                equal.size(),
                Figures.count(pairs.size() - found, "held-out pair")));
  }

  /** Says whether every pair has a wrong answer to compare with. */
  boolean haveWrongAnswers() {
    return all().allMatch(PromptPairBatch::haveWrongAnswers);
  }

  /** Names a position: by its label, else by the token that all clean prompts have there. */
  IntFunction<String> labels(Tokenizer tokenizer) {
    return position -> {
      if (position < seqLabels.size()) {
        return seqLabels.get(position);
      }
      long[] first =
          all()
              .flatMap(batch -> Stream.of(batch.clean()))
              .mapToLong(row -> position < row.length ? row[position] : -1)
              .distinct()
              .limit(2)
              .toArray();
      return first.length == 1 ? tokenizer.show(first[0]) : "(differs)";
    };
  }

  String describe() {
    String use =
        heldOut
            ? "%s to find the circuit, %s to test it"
                .formatted(size(finding), Figures.count(size(testing), "other"))
            : "%s to find the circuit and to test it".formatted(size(finding));
    return "%s: pairs of %s, %s".formatted(name, lengths(), use);
  }

  /** Of a command that uses all of them in one way. */
  String describeAll() {
    return "%s: %s of %s".formatted(name, Figures.count(size(finding), "pair"), lengths());
  }

  private String lengths() {
    int shortest = all().mapToInt(PromptPairBatch::seqLength).min().orElse(0);
    int longest = all().mapToInt(PromptPairBatch::seqLength).max().orElse(0);
    return shortest == longest
        ? Figures.count(longest, "token")
        : "%s to %s".formatted(shortest, Figures.count(longest, "token"));
  }

  /** Returns what stands at each position: its label, or the token of the first clean prompt. */
  List<String> positions(Tokenizer tokenizer) {
    long[] first = finding.get(0).clean()[0];
    return IntStream.range(0, first.length)
        .mapToObj(
            position ->
                position < seqLabels.size()
                    ? seqLabels.get(position)
                    : tokenizer.decode(first[position]).strip())
        .toList();
  }

  String describeTesting() {
    return heldOut
        ? Figures.count(size(testing), "held-out prompt")
        : "the same " + Figures.count(size(testing), "prompt");
  }

  private Stream<PromptPairBatch> all() {
    return Stream.concat(finding.stream(), testing.stream());
  }

  private static int size(List<PromptPairBatch> batches) {
    return batches.stream().mapToInt(PromptPairBatch::size).sum();
  }
}
