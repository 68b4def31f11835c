package org.autocircuit.data;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.autocircuit.exception.PromptDatasetException;
import org.autocircuit.internal.Figures;

/** Says what is required of prompts as a whole; all that is not so is named. */
final class PromptChecks {

  private PromptChecks() {}

  /**
   * Requires that in each group all prompts are as long as the first.
   *
   * @param source what messages call the dataset
   * @param why what needs it
   * @throws PromptDatasetException naming all that are not
   */
  static void requireOneLength(String source, List<List<PromptTokens.Row>> groups, String why) {
    List<String> found = new ArrayList<>();
    for (List<PromptTokens.Row> group : groups) {
      PromptTokens.Row first = group.get(0);
      for (PromptTokens.Row row : group) {
        if (row.clean().length != first.clean().length) {
          found.add(
              "prompts[%s].clean has %s, prompts[%s].clean has %s; %s"
                  .formatted(
                      row.index(),
                      Figures.count(row.clean().length, "token"),
                      first.index(),
                      first.clean().length,
                      why));
        }
      }
    }
    if (!found.isEmpty()) {
      throw new PromptDatasetException(source, found);
    }
  }

  /** Keeps the promises of {@link PromptTokens#check}. */
  static void requireComparable(String source, List<PromptTokens.Row> rows, int longest) {
    List<String> found = new ArrayList<>();
    boolean wrong = rows.stream().anyMatch(row -> row.wrongAnswers().length > 0);
    for (PromptTokens.Row row : rows) {
      String place = "prompts[" + row.index() + "]";
      if (row.clean().length > longest) {
        found.add(
            String.format(
                Locale.ROOT,
                "%s.clean has %,d tokens, the model takes at most %,d",
                place,
                row.clean().length,
                longest));
      }
      if (wrong && row.wrongAnswers().length == 0) {
        found.add(
            place
                + ".wrong_answers is empty while others have some: that would change what is"
                + " measured for all; give it one, or none to the others");
      }
    }
    if (rows.stream().allMatch(row -> Arrays.equals(row.clean(), row.corrupt()))) {
      found.add(
          "prompts[0].corrupt has the tokens of clean, and so in all prompts: nothing to find");
    }
    if (!found.isEmpty()) {
      throw new PromptDatasetException(source, found);
    }
  }
}
