package org.autocircuit.graph;

import java.util.Arrays;
import java.util.List;

/**
 * Circuit sizes to test: one of the rules of {@link EdgeCounts}, numbers of edges, or shares of all
 * edges.
 *
 * @see EdgeCountSelection
 */
public sealed interface TestEdges permits EdgeCounts, TestEdges.Counts, TestEdges.Shares {

  /**
   * Numbers of edges.
   *
   * @param counts each at least 0
   */
  record Counts(List<Integer> counts) implements TestEdges {

    /**
     * Checks and copies the counts.
     *
     * @throws IllegalArgumentException if one is negative
     */
    public Counts {
      counts = List.copyOf(counts);
      for (int count : counts) {
        if (count < 0) {
          throw new IllegalArgumentException("expected a number of edges, got " + count);
        }
      }
    }
  }

  /**
   * Shares of all edges, each rounded down to a number of edges.
   *
   * @param shares from 0 to 1
   */
  record Shares(List<Double> shares) implements TestEdges {

    /**
     * Checks and copies the shares.
     *
     * @throws IllegalArgumentException if one is not from 0 to 1
     */
    public Shares {
      shares = List.copyOf(shares);
      for (double share : shares) {
        if (!(share >= 0 && share <= 1)) {
          throw new IllegalArgumentException("expected a share from 0 to 1, got " + share);
        }
      }
    }
  }

  /** Numbers of edges: {@code ofCounts(1)} is one edge. */
  static TestEdges ofCounts(int... counts) {
    return new Counts(Arrays.stream(counts).boxed().toList());
  }

  /** Shares of all edges: {@code ofShares(1)} is all edges, {@code ofShares(0.1)} a tenth. */
  static TestEdges ofShares(double... shares) {
    return new Shares(Arrays.stream(shares).boxed().toList());
  }
}
