package org.autocircuit.generate;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import org.autocircuit.internal.Numbers;

/**
 * Says where an answer ends, besides at the tokens that end all answers of its generator.
 * Immutable.
 *
 * @param maxTokens the most tokens of an answer
 * @param tokens ids that end it; the token itself is the answer's last
 * @param texts that end it as soon as the answer's own text has one; see {@link TextStream}
 */
public record Stop(int maxTokens, Set<Integer> tokens, List<String> texts) {

  /**
   * Checks and copies the values.
   *
   * @throws IllegalArgumentException if there is no token to generate, or a text is empty
   */
  public Stop {
    Numbers.atLeast(1, "maxTokens", maxTokens);
    tokens = Set.copyOf(tokens);
    texts = texts.stream().distinct().toList();
    if (texts.contains("")) {
      throw new IllegalArgumentException("stop text: expected some characters, got none");
    }
  }

  /** After so many tokens. */
  public static Stop after(int maxTokens) {
    return new Stop(maxTokens, Set.of(), List.of());
  }

  /** This, and at these tokens, too. */
  public Stop atTokens(int... ids) {
    Set<Integer> more = new LinkedHashSet<>(tokens);
    more.addAll(Arrays.stream(ids).boxed().collect(Collectors.toSet()));
    return new Stop(maxTokens, more, texts);
  }

  /** This, and at these texts, too. */
  public Stop atTexts(String... more) {
    List<String> all = new ArrayList<>(texts);
    all.addAll(List.of(more));
    return new Stop(maxTokens, tokens, all);
  }
}
