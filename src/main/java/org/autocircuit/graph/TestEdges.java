package org.autocircuit.graph;

import java.util.List;

/**
 * Which circuit sizes to test: one of the rules of {@link EdgeCounts}, or a list of sizes.
 *
 * @see EdgeCountSelection
 */
public sealed interface TestEdges permits EdgeCounts, TestEdges.Sizes {

  /**
   * A list of sizes.
   *
   * @param sizes integers are numbers of edges; floating-point numbers are proportions of all
   *     edges, rounded down
   */
  record Sizes(List<Number> sizes) implements TestEdges {

    /**
     * Checks and copies the sizes.
     *
     * @throws IllegalArgumentException if a size is negative, not finite, or of another type than
     *     {@code Integer}, {@code Long}, {@code Float} or {@code Double}
     */
    public Sizes {
      sizes = List.copyOf(sizes);
      for (Number size : sizes) {
        boolean count = size instanceof Integer || size instanceof Long;
        if (!count && !(size instanceof Double) && !(size instanceof Float)) {
          throw new IllegalArgumentException(
              "expected an integer or floating-point size, got a " + size.getClass().getName());
        }
        if (!Double.isFinite(size.doubleValue()) || size.doubleValue() < 0) {
          throw new IllegalArgumentException("expected a size of at least 0, got " + size);
        }
      }
    }
  }

  /**
   * A list of sizes: integers are numbers of edges ({@code 10}), floating-point numbers proportions
   * of all edges ({@code 0.1}).
   */
  static TestEdges of(Number... sizes) {
    return new Sizes(List.of(sizes));
  }
}
