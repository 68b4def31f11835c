package org.autocircuit.eval;

import java.util.Locale;

/**
 * Tests whether a circuit does a task as well as the full model, prompt by prompt: the equivalence
 * test of Shi et al. 2024 (2410.13032). If they are equivalent, each is the better one on half of
 * the prompts. The null hypothesis is {@code |P(circuit better) − 1/2| < ε}; the statistic is how
 * far the share of prompts on which the circuit is better lies from 1/2, and the p-value the
 * probability of a share at least as far away where the circuit is better with probability {@code
 * 1/2 + ε}. A small p-value says that they are not equivalent; a large one proves nothing.
 *
 * <p>Prompts on which both are equal do not count, as in a sign test; the paper has none. Plain
 * Java data, immutable.
 *
 * @param conditions how both were measured
 * @param circuitEdges edges of the circuit
 * @param epsilon see above
 * @param better prompts on which the circuit's metric is greater than the full model's
 * @param worse prompts on which it is less
 * @param equal prompts on which it is the same
 * @param pValue 1 where no prompt counts
 */
public record CircuitEquivalence(
    Conditions conditions,
    int circuitEdges,
    double epsilon,
    int better,
    int worse,
    int equal,
    double pValue) {

  /** The paper's {@code ε}. */
  public static final double EPSILON = 0.1;

  /**
   * Compares a circuit with the full model.
   *
   * @param fullModel the circuit of all edges under the same conditions
   * @param epsilon from 0 to below 1/2
   * @throws IllegalArgumentException if the conditions differ, or there is no such {@code ε}
   */
  public static CircuitEquivalence of(
      PromptValues circuit, PromptValues fullModel, double epsilon) {
    circuit.requireSameConditions(fullModel);
    if (!(epsilon >= 0 && epsilon < 0.5)) {
      throw new IllegalArgumentException("epsilon: expected 0 to below 0.5, got " + epsilon);
    }
    double[] values = circuit.toArray();
    double[] full = fullModel.toArray();
    int better = 0;
    int worse = 0;
    for (int prompt = 0; prompt < values.length; prompt++) {
      better += values[prompt] > full[prompt] ? 1 : 0;
      worse += values[prompt] < full[prompt] ? 1 : 0;
    }
    int counted = better + worse;
    // In halves, which are exact: |k/n - 1/2| is |2k - n| / 2n.
    int distance = Math.abs(2 * better - counted);
    double pValue =
        Binomial.probability(counted, 0.5 + epsilon, k -> Math.abs(2 * k - counted) >= distance);
    return new CircuitEquivalence(
        circuit.conditions(),
        circuit.edges(),
        epsilon,
        better,
        worse,
        values.length - counted,
        pValue);
  }

  /** The counts, the p-value and the conditions. */
  @Override
  public String toString() {
    return String.format(
        Locale.ROOT,
        "%,d edges: better than the full model on %d prompts, worse on %d, equal on %d;"
            + " p = %.3g (%s)",
        circuitEdges,
        better,
        worse,
        equal,
        pValue,
        conditions);
  }
}
