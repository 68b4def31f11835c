package org.autocircuit.report;

import java.util.List;
import org.autocircuit.internal.Figures;
import org.autocircuit.prune.HeadScore;

/** A table of attention heads by what goes into them and out of them. */
public final class HeadTable {

  private HeadTable() {}

  /** Lists heads in the given order. */
  public static String of(List<HeadScore> heads) {
    TextTable table =
        new TextTable().indent(2).right("#").left("head").right("in").right("out").right("sum");
    int rank = 0;
    for (HeadScore head : heads) {
      table.row(
          String.valueOf(++rank),
          head.head(),
          unsigned(head.in()),
          unsigned(head.out()),
          unsigned(head.total()));
    }
    return table.toString();
  }

  private static String unsigned(double score) {
    if (score == Math.rint(score) && Math.abs(score) < 1e4) {
      return Figures.fixed(score, 0); // a number of edges, or nothing
    }
    return ScoreTable.score(score).replaceFirst("^\\+", "");
  }
}
