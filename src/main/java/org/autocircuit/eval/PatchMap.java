package org.autocircuit.eval;

import java.util.List;
import java.util.Locale;
import java.util.Objects;
import org.autocircuit.internal.Figures;

/**
 * Says how much of the way from one run to the other each activation makes, when it alone is put
 * in: a row for each activation, a column for each token position, or one for all positions
 * together. Made by {@link ActivationPatching}. Plain Java data, immutable.
 *
 * <p>With m the mean of a metric over prompts, the share is
 *
 * <pre>denoising: (m(patched) − m(corrupt)) / (m(clean) − m(corrupt))   the recovered part
 * noising:   (m(clean) − m(patched)) / (m(clean) − m(corrupt))     the lost part</pre>
 *
 * <p>so that 0 says that the activation changes nothing, and 1 that it does as much as all of the
 * other prompt; what is recovered in noising is 1 less that. It is a ratio of means, not a mean of
 * ratios, which prompts would rule whose two runs are nearly alike.
 */
public final class PatchMap {

  private final String metric;
  private final ActivationSite site;
  private final PatchDirection direction;
  private final boolean eachPosition;
  private final int prompts;
  private final double clean;
  private final double corrupt;
  private final double differenceError;
  private final List<String> rows;
  private final double[][] shares;
  private final double[][] standardErrors;

  PatchMap(
      String metric,
      ActivationSite site,
      PatchDirection direction,
      boolean eachPosition,
      int prompts,
      double clean,
      double corrupt,
      double differenceError,
      List<String> rows,
      double[][] shares,
      double[][] standardErrors) {
    this.metric = Objects.requireNonNull(metric, "metric");
    this.site = site;
    this.direction = direction;
    this.eachPosition = eachPosition;
    this.prompts = prompts;
    this.clean = clean;
    this.corrupt = corrupt;
    this.differenceError = differenceError;
    this.rows = List.copyOf(rows);
    this.shares = shares;
    this.standardErrors = standardErrors;
  }

  /** Returns what was measured. */
  public String metric() {
    return metric;
  }

  /** Returns which activations were put in. */
  public ActivationSite site() {
    return site;
  }

  /** Returns which prompts were run, and which the activations are of. */
  public PatchDirection direction() {
    return direction;
  }

  /** Returns whether a column is one position, and not all together. */
  public boolean eachPosition() {
    return eachPosition;
  }

  /** Returns the number of prompts. */
  public int prompts() {
    return prompts;
  }

  /** Returns the mean of the metric on clean prompts. */
  public double clean() {
    return clean;
  }

  /** Returns the mean of the metric on corrupt prompts. */
  public double corrupt() {
    return corrupt;
  }

  /**
   * Returns {@code clean() - corrupt()} with its standard error over prompts. Where it is not
   * {@linkplain MeanDifference#isClear clear}, shares of it mean little.
   */
  public MeanDifference difference() {
    return new MeanDifference(clean - corrupt, differenceError);
  }

  /** The activations in the order of the model: {@code block 0}, {@code MLP 0}, {@code A0.1}. */
  public List<String> rows() {
    return rows;
  }

  /** The number of positions; 1 if all were patched together. */
  public int columns() {
    return shares[0].length;
  }

  /**
   * The share of an activation, as above.
   *
   * @throws IndexOutOfBoundsException if there is no such row or column
   */
  public double share(int row, int column) {
    return shares[row][column];
  }

  /**
   * The share of an activation.
   *
   * @param row one of {@link #rows()}
   * @throws IllegalArgumentException if there is no such row
   */
  public double share(String row, int column) {
    int index = rows.indexOf(row);
    if (index < 0) {
      throw new IllegalArgumentException(
          "row: expected one from '%s' to '%s', got '%s'"
              .formatted(rows.get(0), rows.get(rows.size() - 1), row));
    }
    return share(index, column);
  }

  /**
   * The standard error of a share over prompts that are drawn independently, to first order; NaN
   * for fewer than two prompts.
   */
  public double standardError(int row, int column) {
    return standardErrors[row][column];
  }

  /** The mean of the metric with an activation put in. */
  public double metric(int row, int column) {
    boolean noising = direction == PatchDirection.NOISING;
    double from = noising ? clean : corrupt;
    double to = noising ? corrupt : clean;
    return from + share(row, column) * (to - from);
  }

  /** Returns under which conditions it was measured, on one line, as it stands beside tables. */
  public String conditions() {
    return String.format(
        Locale.ROOT,
        "%s of %s; %s, %s; %s",
        metric,
        Figures.count(prompts, "prompt"),
        site.words(),
        eachPosition ? "one position at a time" : "all positions together",
        direction == PatchDirection.NOISING
            ? "noising: clean prompts, corrupt activations put in"
            : "denoising: corrupt prompts, clean activations put in");
  }

  /** The conditions, and the size. */
  @Override
  public String toString() {
    return "PatchMap[%s x %s: %s]".formatted(rows.size(), columns(), conditions());
  }
}
