package org.autocircuit.exception;

import java.util.List;
import java.util.Locale;

/**
 * A prompt file cannot be read or used. The message names the file, the place in it, what was met
 * and what is expected; where there are several problems, a line follows for each.
 */
public class PromptDatasetException extends IllegalArgumentException {

  private static final int SHOWN = 100;

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

  /**
   * Names all problems of a file: in one line if there is one, else a line for each.
   *
   * @param source the file; empty: none
   * @param problems where in it, what was met, what is expected
   */
  public PromptDatasetException(String source, List<String> problems) {
    this((source.isEmpty() ? "" : source + ": ") + listed(problems));
  }

  private static String listed(List<String> problems) {
    if (problems.size() == 1) {
      return problems.get(0);
    }
    StringBuilder lines =
        new StringBuilder(String.format(Locale.ROOT, "%,d problems", problems.size()));
    problems.stream().limit(SHOWN).forEach(problem -> lines.append("\n  ").append(problem));
    if (problems.size() > SHOWN) {
      lines.append(String.format(Locale.ROOT, "\n  and %,d more", problems.size() - SHOWN));
    }
    return lines.toString();
  }
}
