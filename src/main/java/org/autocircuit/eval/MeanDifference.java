package org.autocircuit.eval;

import org.autocircuit.internal.Figures;

/**
 * The difference of two means of a metric over the same prompts, in units of the metric.
 *
 * <p>Faithfulness, recovered shares and the shares of a {@link PatchMap} are divided by such a
 * difference: that of the full model and the model with everything patched. Where prompts pull it
 * both ways, as when some pairs have clean and corrupt swapped, it is near 0 and any share of it is
 * noise, however large. Ask {@link #isClear} before showing shares.
 *
 * @param value by how much one mean is above the other
 * @param standardError of the value, from the differences on single prompts; NaN for fewer than two
 *     prompts
 */
public record MeanDifference(double value, double standardError) {

  /**
   * Returns whether shares of the difference mean anything: whether it is not 0, and at least two
   * standard errors as far as these are known.
   */
  public boolean isClear() {
    return value != 0 && !(Math.abs(value) < 2 * standardError);
  }

  /** The difference and its standard error. */
  @Override
  public String toString() {
    return "%s ± %s".formatted(Figures.fixed(value, 4), Figures.fixed(standardError, 4));
  }
}
