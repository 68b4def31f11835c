package org.autocircuit.exception;

/** An answer is not one token after its prompt. The message lists the tokens. */
public final class AnswerException extends IllegalArgumentException {

  private final boolean promptKept;

  /**
   * Says what is wrong.
   *
   * @param message the answer and the tokens
   * @param promptKept whether the prompt keeps its own tokens where the answer follows
   */
  public AnswerException(String message, boolean promptKept) {
    super(message);
    this.promptKept = promptKept;
  }

  /** Returns whether the prompt keeps its own tokens, so that the answer only has too many. */
  public boolean promptKept() {
    return promptKept;
  }
}
