package org.autocircuit.eval;

import java.util.Arrays;
import java.util.Objects;
import org.autocircuit.internal.Figures;

/**
 * A metric of one circuit on each prompt. Plain Java data, immutable.
 *
 * <p>The standard error is that of the mean over prompts that are drawn independently; differences
 * of two circuits are best taken prompt by prompt.
 */
public final class PromptValues {

  private final Conditions conditions;
  private final int edges;
  private final double[] values;

  PromptValues(Conditions conditions, int edges, double[] values) {
    this.conditions = Objects.requireNonNull(conditions, "conditions");
    this.edges = edges;
    this.values = values;
  }

  /** The conditions under which it was measured. */
  public Conditions conditions() {
    return conditions;
  }

  /** The number of edges of the circuit. */
  public int edges() {
    return edges;
  }

  /** A copy of the values, one for each prompt, in the order of the prompts. */
  public double[] toArray() {
    return values.clone();
  }

  /** The mean over prompts. */
  public double mean() {
    return Arrays.stream(values).average().orElse(Double.NaN);
  }

  /** The standard error of the mean; NaN for fewer than two prompts. */
  public double standardError() {
    double mean = mean();
    double squares = Arrays.stream(values).map(v -> (v - mean) * (v - mean)).sum();
    return values.length < 2
        ? Double.NaN
        : Math.sqrt(squares / (values.length - 1) / values.length);
  }

  /** The mean over prompts of the absolute difference from another circuit's values. */
  double distance(PromptValues other) {
    double sum = 0;
    for (int prompt = 0; prompt < values.length; prompt++) {
      sum += Math.abs(values[prompt] - other.values[prompt]);
    }
    return sum / values.length;
  }

  /**
   * The difference of the means, with the standard error of differences prompt by prompt.
   *
   * @throws IllegalArgumentException if the values are of other prompts or conditions
   */
  public MeanDifference minus(PromptValues other) {
    requireSameConditions(other);
    double[] differences = new double[values.length];
    Arrays.setAll(differences, prompt -> values[prompt] - other.values[prompt]);
    PromptValues all = new PromptValues(conditions, edges, differences);
    return new MeanDifference(mean() - other.mean(), all.standardError());
  }

  /**
   * Returns by how much the mean of all edges, which this is, is above that of none.
   *
   * @throws IllegalArgumentException if by nothing
   */
  double requireDifferentMean(PromptValues empty) {
    double range = mean() - empty.mean();
    if (range == 0) {
      throw new IllegalArgumentException(
          "the metric is %s with all edges and with none: the prompts say nothing of circuits (%s)"
              .formatted(mean(), conditions));
    }
    return range;
  }

  /**
   * Refuses values of other prompts or conditions.
   *
   * @throws IllegalArgumentException if they are
   */
  void requireSameConditions(PromptValues other) {
    if (!conditions.equals(other.conditions)) {
      throw new IllegalArgumentException(
          "expected values under the same conditions, got %s and %s"
              .formatted(conditions, other.conditions));
    }
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof PromptValues that
        && conditions.equals(that.conditions)
        && edges == that.edges
        && Arrays.equals(values, that.values);
  }

  @Override
  public int hashCode() {
    return Objects.hash(conditions, edges, Arrays.hashCode(values));
  }

  /** The mean with its standard error, and the conditions. */
  @Override
  public String toString() {
    return "%s: %s ± %s (%s)"
        .formatted(
            Figures.count(edges, "edge"),
            Figures.fixed(mean(), 4),
            Figures.fixed(standardError(), 4),
            conditions);
  }
}
