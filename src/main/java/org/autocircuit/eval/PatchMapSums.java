package org.autocircuit.eval;

import java.util.List;

/** Adds up prompts for a {@link PatchMap}, in memory that does not grow with them. */
final class PatchMapSums {

  private final int columns;

  /** Over prompts, of each cell: how far patching moves the metric; its square; times the way. */
  private final double[] moved;

  private final double[] movedSquared;
  private final double[] movedTimesWay;

  /** Over prompts: the metric of the run that is patched, and the way from it to the other's. */
  private double from;

  private double way;
  private double waySquared;
  private int prompts;

  PatchMapSums(int rows, int columns) {
    this.columns = columns;
    moved = new double[rows * columns];
    movedSquared = new double[moved.length];
    movedTimesWay = new double[moved.length];
  }

  /**
   * Adds prompts.
   *
   * @param run their metric as they are
   * @param other the metric of the prompts that activations come from
   * @param patched the metric of each cell, row by row; {@code null} where patching changes nothing
   */
  void add(double[] run, double[] other, double[][] patched) {
    for (int prompt = 0; prompt < run.length; prompt++) {
      double toOther = other[prompt] - run[prompt];
      from += run[prompt];
      way += toOther;
      waySquared += toOther * toOther;
      for (int cell = 0; cell < moved.length; cell++) {
        double by = patched[cell] == null ? 0 : patched[cell][prompt] - run[prompt];
        moved[cell] += by;
        movedSquared[cell] += by * by;
        movedTimesWay[cell] += by * toOther;
      }
    }
    prompts += run.length;
  }

  boolean isEmpty() {
    return prompts == 0;
  }

  /**
   * The map of all prompts so far.
   *
   * @throws IllegalArgumentException if the two runs have the same mean
   */
  PatchMap map(ActivationPatching patching, List<String> rows) {
    if (way == 0) {
      throw new IllegalArgumentException(
          "the %s is %s on clean and on corrupt prompts: there is nothing to recover"
              .formatted(patching.metric().name(), from / prompts));
    }
    double[][] shares = new double[rows.size()][columns];
    double[][] errors = new double[rows.size()][columns];
    for (int cell = 0; cell < moved.length; cell++) {
      double share = moved[cell] / way;
      shares[cell / columns][cell % columns] = share;
      errors[cell / columns][cell % columns] = standardError(cell, share);
    }
    double run = from / prompts;
    double other = (from + way) / prompts;
    boolean noising = patching.direction() == PatchDirection.NOISING;
    return new PatchMap(
        patching.metric().name(),
        patching.site(),
        patching.direction(),
        patching.eachPosition(),
        prompts,
        noising ? run : other,
        noising ? other : run,
        prompts < 2
            ? Double.NaN
            : Math.sqrt(Math.max(waySquared - way * way / prompts, 0) / (prompts - 1) / prompts),
        rows,
        shares,
        errors);
  }

  /** Of a ratio of means, linearised: that of the mean of moved − share · way, over the way. */
  private double standardError(int cell, double share) {
    if (prompts < 2) {
      return Double.NaN;
    }
    double squares =
        movedSquared[cell] - 2 * share * movedTimesWay[cell] + share * share * waySquared;
    // Rounding may leave a little less than nothing.
    return Math.sqrt(Math.max(squares, 0) * prompts / (prompts - 1)) / Math.abs(way);
  }
}
