package org.autocircuit.data;

/**
 * A prompt file cannot be read or used. The message names the file, the place in it, what was met
 * and what is expected.
 */
public class PromptDatasetException extends IllegalArgumentException {

  /**
   * Describes what is wrong and where.
   *
   * @param message the file, the place, what was met, what is expected
   */
  public PromptDatasetException(String message) {
    super(message);
  }

  /**
   * Describes what is wrong and where, keeping the failure that revealed it.
   *
   * @param message the file, the place, what was met, what is expected
   * @param cause the failure underneath
   */
  public PromptDatasetException(String message, Throwable cause) {
    super(message, cause);
  }
}
