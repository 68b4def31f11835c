package org.autocircuit.cli;

import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.report.CircuitPage;
import org.autocircuit.tokenizer.Tokenizer;

/**
 * Spells the first prompts out for pages.
 *
 * @param tokenizer that of the model
 */
record ShownPrompts(Tokenizer tokenizer) {

  /** So many prompts are on a page at most. */
  private static final int MOST = 200;

  List<CircuitPage.Prompt> of(List<PromptPairBatch> batches) {
    return batches.stream()
        .flatMap(batch -> IntStream.range(0, batch.size()).mapToObj(i -> row(batch, i)))
        .limit(MOST)
        .toList();
  }

  private CircuitPage.Prompt row(PromptPairBatch batch, int i) {
    return new CircuitPage.Prompt(
        show(batch.clean()[i]),
        show(batch.corrupt()[i]),
        show(batch.answers()[i]),
        show(batch.wrongAnswers()[i]));
  }

  private List<String> show(long[] tokens) {
    return Arrays.stream(tokens)
        .filter(token -> token != PromptPairBatch.NO_ANSWER)
        .mapToObj(tokenizer::show)
        .toList();
  }
}
