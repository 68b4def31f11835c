package org.autocircuit.report;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.IntFunction;
import org.autocircuit.internal.VisibleText;
import org.autocircuit.prune.ScoredEdge;

/**
 * A table of scored edges with a small bar for each: plain text of 80 columns, more only if names
 * need them.
 */
public final class ScoreTable {

  private static final int WIDTH = 80;
  private static final int BAR_WIDTH = 24;
  private static final int SHORTEST_BAR = 4;

  private ScoreTable() {}

  /**
   * Lists edges in the given order. Bars are relative to the greatest absolute score that is
   * finite, and scores that are not have none; {@code #} stands for positive scores and {@code -}
   * for negative ones. Names say which query heads read a shared key/value head.
   */
  public static String of(List<ScoredEdge> edges) {
    return of(edges, position -> "");
  }

  /** The same, with what stands at each position beside it. */
  public static String of(List<ScoredEdge> edges, IntFunction<String> label) {
    int width = table(edges, label, 0).lines().mapToInt(String::length).max().orElse(0);
    return table(edges, label, Math.max(SHORTEST_BAR, Math.min(BAR_WIDTH, WIDTH - width - 2)));
  }

  private static String table(List<ScoredEdge> edges, IntFunction<String> label, int barWidth) {
    double greatest = greatest(edges);
    boolean positions = edges.stream().anyMatch(edge -> edge.edge().position().isPresent());
    TextTable table = new TextTable().indent(2).right("#").left("edge");
    if (positions) {
      table.right("position").left("");
    }
    table.right("score").left("");
    int rank = 0;
    for (ScoredEdge scored : edges) {
      List<String> cells = new ArrayList<>(List.of(String.valueOf(++rank), scored.edge().label()));
      if (positions) {
        int position = scored.edge().position().orElse(0);
        cells.add(String.valueOf(position));
        cells.add(VisibleText.of(label.apply(position)));
      }
      cells.add(score(scored.score()));
      cells.add(bar(scored.score(), greatest, barWidth));
      table.row(cells.toArray(String[]::new));
    }
    return table.toString();
  }

  /** The greatest absolute score that is finite; 0 if none is. */
  static double greatest(List<ScoredEdge> edges) {
    return edges.stream()
        .mapToDouble(edge -> Math.abs(edge.score()))
        .filter(Double::isFinite)
        .max()
        .orElse(0);
  }

  /** A score with its sign and four significant digits. */
  static String score(double score) {
    return Math.abs(score) >= 1e-3 && Math.abs(score) < 1e4
        ? String.format(Locale.ROOT, "%+.4f", score)
        : String.format(Locale.ROOT, "%+.3e", score);
  }

  private static String bar(double score, double greatest, int width) {
    if (!(greatest > 0) || !Double.isFinite(score / greatest)) {
      return "";
    }
    int length = (int) Math.round(Math.abs(score) / greatest * width);
    return (score < 0 ? "-" : "#").repeat(length);
  }
}
