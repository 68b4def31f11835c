package org.autocircuit.eval;

import java.util.Arrays;
import java.util.List;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.model.TransformerConfig;

/** Checks what is asked of a transformer's blocks. */
final class BlockPrompts {

  private BlockPrompts() {}

  /**
   * Checks model and prompts.
   *
   * @param oneLength whether all prompts must be equally long
   */
  static TransformerConfig check(
      PatchableModel model, List<PromptPairBatch> batches, boolean oneLength) {
    if (batches.isEmpty()) {
      throw new IllegalArgumentException("batches: expected at least one, got none");
    }
    if (!(model.config() instanceof TransformerConfig config)) {
      throw new IllegalArgumentException("model: expected a transformer, got " + model);
    }
    int[] lengths =
        batches.stream()
            .flatMap(batch -> Arrays.stream(batch.clean()))
            .mapToInt(row -> row.length)
            .distinct()
            .limit(2)
            .toArray();
    if (oneLength && lengths.length > 1) {
      throw new IllegalArgumentException(
          "prompts: expected all to be equally long for what is of each position, got some of %s"
                  .formatted(lengths[0])
              + " and some of %s tokens".formatted(lengths[1]));
    }
    return config;
  }
}
