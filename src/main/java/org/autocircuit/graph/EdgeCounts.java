package org.autocircuit.graph;

/** Rules that select the circuit sizes to test. */
public enum EdgeCounts implements TestEdges {

  /** Every size from 0 to the number of edges. */
  ALL,

  /**
   * Sizes with one significant digit, below the number of edges: 1, 2, … 9, 10, 20, … 90, 100, …
   */
  LOGARITHMIC,

  /**
   * The sizes that thresholding a table of scores can give: all edges with the greatest absolute
   * score, all with the greatest two, and so on. Needs scores.
   */
  GROUPS
}
