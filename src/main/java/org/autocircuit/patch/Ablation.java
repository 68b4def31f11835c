package org.autocircuit.patch;

import java.util.List;
import java.util.stream.Stream;

/**
 * Chooses what takes the place of the activations of sources, computed from the outputs that the
 * sources have on some input: on one batch ({@link BatchAblation}), or on a whole data set ({@link
 * DatasetAblation}); see {@code PatchableModel.sourceAblations}. All have the names that they have
 * in the Python original's {@code AblationType}, in code and in files.
 */
public sealed interface Ablation permits BatchAblation, DatasetAblation {

  /** Returns the name in the Python original, and in files of circuits. */
  String name();

  /** Returns all ablations: those of a batch, then those of a data set. */
  static List<Ablation> values() {
    return Stream.<Ablation>concat(
            Stream.of(BatchAblation.values()), Stream.of(DatasetAblation.values()))
        .toList();
  }

  /**
   * Returns the ablation of this name.
   *
   * @throws IllegalArgumentException if there is none
   */
  static Ablation named(String name) {
    return values().stream()
        .filter(each -> each.name().equals(name))
        .findFirst()
        .orElseThrow(
            () ->
                new IllegalArgumentException(
                    "ablation: expected one of %s, got '%s'".formatted(values(), name)));
  }
}
