package org.autocircuit.eval;

import java.util.Locale;
import java.util.Objects;
import org.autocircuit.internal.Figures;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.PatchType;

/**
 * Says under which conditions circuits were measured. Numbers under different conditions cannot be
 * compared: each of these moves them a lot (Miller et al. 2024, 2407.08734).
 *
 * @param metric what was measured
 * @param patchType whether the circuit was patched, or all but the circuit
 * @param ablation what edges were patched with
 * @param direction which prompts it ran on
 * @param prompts how many
 */
public record Conditions(
    String metric, PatchType patchType, Ablation ablation, PatchDirection direction, int prompts) {

  /** Checks that nothing is {@code null}. */
  public Conditions {
    Objects.requireNonNull(metric, "metric");
    Objects.requireNonNull(patchType, "patchType");
    Objects.requireNonNull(ablation, "ablation");
    Objects.requireNonNull(direction, "direction");
  }

  /** The conditions on one line, as they stand beside tables. */
  @Override
  public String toString() {
    return String.format(
        Locale.ROOT,
        "%s of %s; %s, ablation %s, %s",
        metric,
        Figures.count(prompts, "prompt"),
        patchType == PatchType.TREE_PATCH ? "all but the circuit patched" : "the circuit patched",
        words(ablation.name()),
        words(direction.name()));
  }

  private static String words(String name) {
    return name.toLowerCase(Locale.ROOT).replace('_', ' ');
  }
}
