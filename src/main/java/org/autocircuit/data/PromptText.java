package org.autocircuit.data;

import java.util.List;

/** A prompt or an answer as it is written: a text, token ids, or one token as it is spelled. */
public sealed interface PromptText {

  /** A text, which a tokenizer cuts into tokens. */
  record Text(String text) implements PromptText {
    @Override
    public String toString() {
      return text;
    }
  }

  /**
   * Token ids, taken as they are: no beginning-of-sequence token is added. A single one where this
   * is an answer.
   */
  record Ids(List<Long> ids) implements PromptText {
    /** Copies the list. */
    public Ids {
      ids = List.copyOf(ids);
    }

    long[] toArray() {
      return ids.stream().mapToLong(Long::longValue).toArray();
    }

    @Override
    public String toString() {
      return ids.size() == 1 ? ids.get(0).toString() : ids.toString();
    }
  }

  /** One token by its spelling in the vocabulary, such as {@code ▁s} or {@code Ġs}. */
  record Token(String spelling) implements PromptText {
    @Override
    public String toString() {
      return "{\"token\": \"" + spelling + "\"}";
    }
  }

  /** A text. */
  static PromptText of(String text) {
    return new Text(text);
  }

  /** Texts. */
  static List<PromptText> of(List<String> texts) {
    return texts.stream().map(PromptText::of).toList();
  }

  /** Token ids. */
  static PromptText of(long... ids) {
    return new Ids(java.util.Arrays.stream(ids).boxed().toList());
  }

  /** Returns whether there is nothing in it. */
  default boolean isEmpty() {
    return this instanceof Ids ids ? ids.ids().isEmpty() : toString().isEmpty();
  }
}
