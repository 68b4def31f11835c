package org.autocircuit.eval;

import java.util.Comparator;
import java.util.List;
import java.util.Objects;

/**
 * The area under the curve of a measure over circuit sizes, on linear or logarithmic axes; the
 * counterpart of the Python original's {@code measurements_auc}.
 *
 * <p>Heights count from the measure of the empty circuit, so the area says what the edges add to
 * it. As in the original the empty circuit's measure is taken off as it is, on a logarithmic axis
 * too, where it should rather be its logarithm; compare areas of one task with one another only.
 * Logarithms have base 10. Immutable, safe to share between threads.
 */
public final class AreaUnderCurve {

  /** The least area that the original returns, so that areas can be shown on logarithmic axes. */
  public static final double LEAST_AREA = 1e-3;

  /**
   * One circuit.
   *
   * @param edges its size
   * @param value its measure
   */
  public record Point(int edges, double value) {}

  /** Says how an axis is divided. */
  public enum Axis {
    /** As the numbers are. */
    LINEAR,
    /** By the logarithm. */
    LOGARITHMIC
  }

  private final Axis sizes;
  private final Axis values;
  private final double leastValue;

  private AreaUnderCurve(Axis sizes, Axis values, double leastValue) {
    this.sizes = Objects.requireNonNull(sizes, "sizes");
    this.values = Objects.requireNonNull(values, "values");
    this.leastValue = leastValue;
  }

  /**
   * Areas with a linear axis of values.
   *
   * @param sizes a logarithmic axis begins at size 1
   */
  public static AreaUnderCurve over(Axis sizes) {
    return new AreaUnderCurve(sizes, Axis.LINEAR, Double.NaN);
  }

  /**
   * These areas with a logarithmic axis of values, which begins at the least value.
   *
   * @param value what smaller values count as
   * @throws IllegalArgumentException if it is not positive
   */
  public AreaUnderCurve withLogarithmicValues(double value) {
    if (!(value > 0)) {
      throw new IllegalArgumentException("expected a least value above 0, got " + value);
    }
    return new AreaUnderCurve(sizes, Axis.LOGARITHMIC, value);
  }

  /**
   * The area by trapezoids between neighbouring sizes.
   *
   * @param points in any order; points of one size in the order in which they count
   * @return at least {@link #LEAST_AREA}; NaN if a value is NaN
   * @throws IllegalArgumentException if there is no point of size 0
   */
  public double of(List<Point> points) {
    List<Point> sorted = points.stream().sorted(Comparator.comparingInt(Point::edges)).toList();
    if (sorted.isEmpty() || sorted.get(0).edges() != 0) {
      throw new IllegalArgumentException(
          "expected the empty circuit among the points, got " + points);
    }
    double empty = sorted.get(0).value();
    double area = 0;
    for (int i = 1; i < sorted.size(); i++) {
      Point from = sorted.get(i - 1);
      Point to = sorted.get(i);
      if (sizes == Axis.LINEAR || from.edges() > 0) {
        double height = (height(from) + height(to)) / 2 - empty;
        area += (along(to) - along(from)) * height;
      }
    }
    return Math.max(area, LEAST_AREA);
  }

  private double along(Point point) {
    return sizes == Axis.LINEAR ? point.edges() : Math.log10(point.edges());
  }

  private double height(Point point) {
    return values == Axis.LINEAR
        ? point.value()
        : Math.log10(Math.max(point.value(), leastValue) / leastValue);
  }
}
