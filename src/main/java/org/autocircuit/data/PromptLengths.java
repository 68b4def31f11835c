package org.autocircuit.data;

import java.util.ArrayList;
import java.util.List;

/** Requires prompts of one length. */
final class PromptLengths {

  private PromptLengths() {}

  /**
   * Requires that in each group all prompts are as long as the first.
   *
   * @param source what messages call the dataset
   * @param why what needs it
   * @throws PromptDatasetException naming all that are not
   */
  static void requireOne(String source, List<List<PromptTokens.Row>> groups, String why) {
    List<String> found = new ArrayList<>();
    for (List<PromptTokens.Row> group : groups) {
      PromptTokens.Row first = group.get(0);
      for (PromptTokens.Row row : group) {
        if (row.clean().length != first.clean().length) {
          found.add(
              "prompts[%s].clean has %s tokens, prompts[%s].clean has %s; %s"
                  .formatted(
                      row.index(), row.clean().length, first.index(), first.clean().length, why));
        }
      }
    }
    if (!found.isEmpty()) {
      throw PromptDatasetException.of(source, found);
    }
  }
}
