package org.autocircuit.cli;

import java.util.List;
import java.util.Locale;
import org.autocircuit.eval.FaithfulnessCurve;
import org.autocircuit.eval.MeanDifference;
import org.autocircuit.internal.Figures;

/** Shares of what the model does, as tables show them: none of a difference that is but noise. */
final class Shares {

  private Shares() {}

  /**
   * Says that shares of a difference mean nothing, if so.
   *
   * @param sides the two that differ
   * @param result what becomes of the shares
   */
  static List<String> warnings(String sides, MeanDifference difference, String result) {
    return difference.isClear()
        ? List.of()
        : List.of(
            String.format(
                Locale.ROOT,
                "%s differ by %.3g, with a standard error of %.3g: shares of so small a difference"
                    + " mean %s",
                sides,
                difference.value(),
                difference.standardError(),
                result));
  }

  /** The same of the full model and the empty circuit, whose shares are left out then. */
  static List<String> warnings(MeanDifference range) {
    return warnings(
        "the model and the circuit of no edge",
        range,
        "nothing and are left out; do clean and corrupt change places in some pairs?");
  }

  /** A point's faithfulness, if it means anything. */
  static String faithfulness(FaithfulnessCurve curve, FaithfulnessCurve.Point point) {
    return curve.range().isClear() ? Figures.percent(point.faithfulness(), 1) : "-";
  }

  /** The area under faithfulness, if it means anything and all of the curve is there. */
  static String performanceRatio(FaithfulnessCurve curve) {
    return number(isWhole(curve), curve.performanceRatio());
  }

  /** The area between faithfulness and 1, if it means anything and all of the curve is there. */
  static String modelDistance(FaithfulnessCurve curve) {
    return number(isWhole(curve), curve.modelDistance());
  }

  /** Returns whether areas under the curve mean anything, and all of it is there. */
  static boolean isWhole(FaithfulnessCurve curve) {
    return curve.range().isClear() && curve.points().size() == FaithfulnessCurve.SHARES.size();
  }

  private static String number(boolean means, double value) {
    return means ? Figures.fixed(value, 4) : "-";
  }
}
