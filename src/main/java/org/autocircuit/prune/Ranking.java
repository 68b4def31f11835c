package org.autocircuit.prune;

import java.util.AbstractList;
import java.util.RandomAccess;

/** Scored edges in descending order, made when they are asked for. */
final class Ranking extends AbstractList<ScoredEdge> implements RandomAccess {

  private final PruneScores scores;
  private final int[] order;

  private Ranking(PruneScores scores, int[] order) {
    this.scores = scores;
    this.order = order;
  }

  /**
   * Edges by descending absolute score, NaN last, ties as they were.
   *
   * @param ascending the absolute scores of these edges, NaN last
   * @param n how many are not NaN
   */
  static Ranking of(PruneScores scores, int[] edges, double[] ascending, int n) {
    int[] order = new int[edges.length];
    // One slot per distinct value: the next free place of its ties, kept where they begin.
    int[] taken = new int[edges.length];
    int nans = n;
    for (int edge : edges) {
      double score = Math.abs(scores.get(edge));
      if (Double.isNaN(score)) {
        order[nans++] = edge;
      } else {
        int first = n - firstAbove(ascending, n, score);
        order[first + taken[first]++] = edge;
      }
    }
    return new Ranking(scores, order);
  }

  /**
   * The index of the first of {@code n} ascending values that is greater; NaN counts as greater.
   */
  static int firstAbove(double[] ascending, int n, double value) {
    int low = 0;
    int high = n;
    while (low < high) {
      int middle = (low + high) >>> 1;
      if (ascending[middle] <= value) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }

  @Override
  public ScoredEdge get(int rank) {
    return new ScoredEdge(scores.graph().edge(order[rank]), scores.get(order[rank]));
  }

  @Override
  public int size() {
    return order.length;
  }
}
