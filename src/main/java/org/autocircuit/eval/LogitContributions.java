package org.autocircuit.eval;

import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.stream.IntStream;

/**
 * Says what each source of a model adds to the logit difference of answers, as a mean over prompts:
 * at the last position, or at each. Made by {@link DirectLogitAttribution}. Plain Java data,
 * immutable.
 */
public final class LogitContributions {

  /**
   * The contribution of one source.
   *
   * @param source its name in the graph: {@code Resid Start} (the embedding), {@code A0.1}, {@code
   *     MLP 0}
   * @param mean in logits, over prompts
   * @param standardError of the mean; NaN for fewer than two prompts
   */
  public record Contribution(String source, double mean, double standardError) {

    /** The name and the numbers, rounded. */
    @Override
    public String toString() {
      return String.format(Locale.ROOT, "%s: %.4f ± %.4f", source, mean, standardError);
    }
  }

  private final int prompts;
  private final boolean eachPosition;
  private final List<List<Contribution>> contributions;
  private final double[] constants;

  LogitContributions(
      int prompts,
      boolean eachPosition,
      List<List<Contribution>> contributions,
      double[] constants) {
    this.prompts = prompts;
    this.eachPosition = eachPosition;
    this.contributions = contributions.stream().map(List::copyOf).toList();
    this.constants = Objects.requireNonNull(constants, "constants");
  }

  /** Returns the number of prompts. */
  public int prompts() {
    return prompts;
  }

  /** Returns whether a column is one position, and not the last one alone. */
  public boolean eachPosition() {
    return eachPosition;
  }

  /** The number of positions; 1 if it is the last one alone. */
  public int columns() {
    return constants.length;
  }

  /** The sources in the order in which the model computes them. */
  public List<String> sources() {
    return contributions.get(0).stream().map(Contribution::source).toList();
  }

  /**
   * The contribution of each source, in the order of {@link #sources}.
   *
   * @throws IndexOutOfBoundsException if there is no such column
   */
  public List<Contribution> at(int column) {
    return contributions.get(Objects.checkIndex(column, columns()));
  }

  /**
   * The sum of what biases add that belong to no source: of attention outputs, decoders of
   * autoencoders, the final norm and the unembedding.
   */
  public double constant(int column) {
    return constants[column];
  }

  /** The sum of all: the model's own logit difference, before a soft cap. */
  public double total(int column) {
    return constant(column) + at(column).stream().mapToDouble(Contribution::mean).sum();
  }

  /** Its kind, and the totals. */
  @Override
  public String toString() {
    return "logit difference of %s prompts at %s, by source: %s"
        .formatted(
            prompts,
            eachPosition ? "each position" : "the last position",
            Arrays.toString(IntStream.range(0, columns()).mapToDouble(this::total).toArray()));
  }
}
