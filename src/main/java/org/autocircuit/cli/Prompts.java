package org.autocircuit.cli;

import java.util.List;
import java.util.stream.Stream;
import org.autocircuit.data.PromptBatches;
import org.autocircuit.data.PromptDataset;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.model.Tokenizer;

/**
 * The prompts of a discovery.
 *
 * @param name what they are called
 * @param finding the batches that the circuit is found with
 * @param testing the batches that it is tested with: others, or the same
 * @param heldOut whether they are others
 */
record Prompts(
    String name, List<PromptPairBatch> finding, List<PromptPairBatch> testing, boolean heldOut) {

  static Prompts of(
      String name, PromptDataset dataset, int heldOut, Tokenizer tokenizer, int batchSize) {
    PromptBatches.Options options = PromptBatches.Options.ofSize(batchSize).withGroupByLength();
    int found = dataset.size() - heldOut;
    List<PromptPairBatch> finding =
        PromptBatches.of(dataset.slice(0, found), tokenizer, options).batches();
    if (heldOut == 0) {
      return new Prompts(name, finding, finding, false);
    }
    PromptDataset rest = dataset.slice(found, dataset.size());
    return new Prompts(name, finding, PromptBatches.of(rest, tokenizer, options).batches(), true);
  }

  /** Whether every pair has a wrong answer to compare with. */
  boolean haveWrongAnswers() {
    return all()
        .flatMap(batch -> batch.pairs().stream())
        .noneMatch(pair -> pair.wrongAnswers().isEmpty());
  }

  /**
   * The number of tokens of all prompts.
   *
   * @throws IllegalArgumentException if there are several
   */
  int oneLength() {
    PromptPairBatch first = finding.get(0);
    all()
        .filter(batch -> batch.seqLength() != first.seqLength())
        .findFirst()
        .ifPresent(
            other -> {
              throw new IllegalArgumentException(
                  "--per-position needs prompts of one length: \"%s\" has %d tokens, \"%s\" has %d"
                      .formatted(
                          first.pairs().get(0).clean(),
                          first.seqLength(),
                          other.pairs().get(0).clean(),
                          other.seqLength()));
            });
    return first.seqLength();
  }

  String describe() {
    int shortest = all().mapToInt(PromptPairBatch::seqLength).min().orElse(0);
    int longest = all().mapToInt(PromptPairBatch::seqLength).max().orElse(0);
    String tokens = shortest == longest ? "" + shortest : shortest + " to " + longest;
    String use =
        heldOut
            ? "%d to find the circuit, %d others to test it".formatted(size(finding), size(testing))
            : "%d to find the circuit and to test it".formatted(size(finding));
    return "%s: pairs of %s tokens, %s".formatted(name, tokens, use);
  }

  String describeTesting() {
    return heldOut
        ? "%d held-out prompts".formatted(size(testing))
        : "the same %d prompts".formatted(size(testing));
  }

  private Stream<PromptPairBatch> all() {
    return Stream.concat(finding.stream(), testing.stream());
  }

  private static int size(List<PromptPairBatch> batches) {
    return batches.stream().mapToInt(PromptPairBatch::size).sum();
  }
}
