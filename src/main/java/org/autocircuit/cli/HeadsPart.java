package org.autocircuit.cli;

import java.util.Arrays;
import java.util.List;
import org.autocircuit.prune.HeadScore;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.report.HeadTable;

/** The heads that matter most, for people. */
final class HeadsPart {

  private static final int SHOWN = 10;

  private HeadsPart() {}

  /**
   * A table of heads by their scores; where some are infinite by how many of those they have.
   *
   * @return nothing for a model without heads
   */
  static String of(PruneScores scores) {
    double[] values = scores.toArray();
    boolean infinite = Arrays.stream(values).anyMatch(Double::isInfinite);
    if (infinite) {
      Arrays.setAll(values, i -> Double.isInfinite(values[i]) ? 1 : 0);
    }
    List<HeadScore> heads = HeadScore.of(PruneScores.of(scores.graph(), values));
    if (heads.isEmpty()) {
      return "";
    }
    List<HeadScore> shown = heads.subList(0, Math.min(SHOWN, heads.size()));
    return "%s, by %s%n%n%s%n"
        .formatted(
            Discover.best(shown.size(), "head"),
            infinite ? "numbers of edges with infinite scores" : "sums of absolute scores",
            HeadTable.of(shown));
  }
}
