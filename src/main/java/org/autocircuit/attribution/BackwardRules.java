package org.autocircuit.attribution;

import org.autocircuit.internal.Numbers;

/**
 * Says how a gradient goes back through a model where it is to be something else than the model's
 * derivative. The values of the run are the same to the last bit. For transformers.
 *
 * @param frozenNorms whether LayerNorms and RMSNorms, those of queries and keys and post-norms
 *     included, go back as if their divisor was a constant; means that are subtracted are no
 *     constants
 * @param softmaxTemperature the softmax of attention scores goes back as if it had been one of
 *     scores divided by this, with respect to the divided scores; 1: as itself
 * @param queriesAndKeys factor of the gradients of queries and keys
 * @param values factor of the gradients of attention's values
 * @param gatedMlps in gated MLPs, factor of the gradients of the gate before its activation and of
 *     what it multiplies
 */
public record BackwardRules(
    boolean frozenNorms,
    double softmaxTemperature,
    double queriesAndKeys,
    double values,
    double gatedMlps) {

  /** The derivative. */
  public static final BackwardRules DERIVATIVE = new BackwardRules(false, 1, 1, 1, 1);

  /**
   * Gradient interaction modifications (Edin et al. 2025, arXiv 2505.17630), with the settings of
   * the authors' code: norms frozen, softmax at temperature 2, and the gradient of a product
   * divided among its operands: 1/4 for queries and keys, which are two products away from the
   * output, 1/2 for values and for both operands of gated MLPs.
   */
  public static final BackwardRules GIM = new BackwardRules(true, 2, 0.25, 0.5, 0.5);

  /**
   * Holds rules.
   *
   * @throws IllegalArgumentException if the temperature is not positive or a factor is not finite
   */
  public BackwardRules {
    Numbers.positive("softmaxTemperature", softmaxTemperature);
    requireFinite("queriesAndKeys", queriesAndKeys);
    requireFinite("values", values);
    requireFinite("gatedMlps", gatedMlps);
  }

  private static void requireFinite(String name, double factor) {
    if (!Double.isFinite(factor)) {
      throw new IllegalArgumentException(name + ": expected a number, got " + factor);
    }
  }
}
