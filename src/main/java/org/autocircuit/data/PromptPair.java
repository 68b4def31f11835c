package org.autocircuit.data;

import java.util.List;

/**
 * A prompt, its corrupt counterpart, and what may follow. The two prompts should differ only in
 * what decides the answer, and must come out as the same number of tokens. Immutable.
 *
 * @param clean the prompt whose behaviour is studied
 * @param corrupt the prompt whose activations replace those of the clean one
 * @param answers right continuations of {@code clean}, at least one, each a single token
 * @param wrongAnswers wrong continuations to compare with, each a single token
 */
public record PromptPair(
    PromptText clean, PromptText corrupt, List<PromptText> answers, List<PromptText> wrongAnswers) {

  /**
   * Copies the lists.
   *
   * @throws IllegalArgumentException if a prompt is empty or there is no answer
   */
  public PromptPair {
    if (clean.isEmpty() || corrupt.isEmpty()) {
      throw new IllegalArgumentException(
          "prompts must not be empty, got clean \"%s\" and corrupt \"%s\""
              .formatted(clean, corrupt));
    }
    if (answers.isEmpty()) {
      throw new IllegalArgumentException("\"" + clean + "\" has no answer");
    }
    answers = List.copyOf(answers);
    wrongAnswers = List.copyOf(wrongAnswers);
  }

  /**
   * A pair of texts.
   *
   * @throws IllegalArgumentException if a prompt is empty or there is no answer
   */
  public PromptPair(String clean, String corrupt, List<String> answers, List<String> wrongAnswers) {
    this(
        PromptText.of(clean),
        PromptText.of(corrupt),
        PromptText.of(answers),
        PromptText.of(wrongAnswers));
  }
}
