package org.autocircuit.text;

import java.util.Arrays;
import java.util.List;
import java.util.Objects;

/**
 * Says where a head looked on one prompt: how much of each token's value every token took, the
 * softmax of the attention scores. Plain Java data, immutable, safe to share between threads.
 */
public final class AttentionPattern {

  private final String head;
  private final List<String> tokens;
  private final float[][] weights;

  /** Weights: {@code [query][key]}, keys of a prefix first; taken over. */
  AttentionPattern(String head, List<String> tokens, float[][] weights) {
    this.head = Objects.requireNonNull(head, "head");
    this.tokens = List.copyOf(tokens);
    this.weights = weights;
  }

  /** The head's name in the graph: {@code A0.1}. */
  public String head() {
    return head;
  }

  /** The prompt's tokens, which are queries and keys. */
  public List<String> tokens() {
    return tokens;
  }

  /**
   * Returns how much a token takes of another, 0 to 1; of later ones 0.
   *
   * @param query position of the one that looks
   * @param key position of the one that is looked at
   * @throws IndexOutOfBoundsException if there is no such position
   */
  public float get(int query, int key) {
    Objects.checkIndex(query, tokens.size());
    return weights[query][
        weights[query].length - tokens.size() + Objects.checkIndex(key, tokens.size())];
  }

  /**
   * The weight that a token gives a prefix that the model has before all prompts; 0 if it has none.
   */
  public float ofPrefix(int query) {
    float sum = 0;
    for (int key = 0; key < weights[query].length - tokens.size(); key++) {
      sum += weights[query][key];
    }
    return sum;
  }

  /** A copy of all, {@code [query][key]}, without a prefix. */
  public float[][] toArray() {
    return Arrays.stream(weights)
        .map(row -> Arrays.copyOfRange(row, row.length - tokens.size(), row.length))
        .toArray(float[][]::new);
  }

  /** The head and the number of tokens. */
  @Override
  public String toString() {
    return "attention of %s over %s tokens".formatted(head, tokens.size());
  }
}
