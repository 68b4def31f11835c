package org.autocircuit.report;

import java.util.ArrayList;
import java.util.List;

/**
 * A table of fixed-width text: numbers to the right, names to the left, two blanks between columns
 * unless {@link #gap} says otherwise. Not safe for use by several threads.
 *
 * <pre>{@code
 * TextTable table = new TextTable().left("edge").right("score");
 * table.row("A0.1->MLP 1", "0.25");
 * System.out.print(table);
 * }</pre>
 */
public final class TextTable {

  private record Column(String title, boolean left) {}

  private final List<Column> columns = new ArrayList<>();
  private final List<String[]> rows = new ArrayList<>();
  private String indent = "";
  private String gap = "  ";

  /** Adds a column whose cells begin at its left. */
  public TextTable left(String title) {
    columns.add(new Column(title, true));
    return this;
  }

  /** Adds a column whose cells end at its right. */
  public TextTable right(String title) {
    columns.add(new Column(title, false));
    return this;
  }

  /** Puts blanks before every line. */
  public TextTable indent(int blanks) {
    indent = " ".repeat(blanks);
    return this;
  }

  /** Puts so many blanks between columns instead of two. */
  public TextTable gap(int blanks) {
    gap = " ".repeat(blanks);
    return this;
  }

  /**
   * Adds a row.
   *
   * @throws IllegalArgumentException if there are not as many cells as columns
   */
  public TextTable row(String... cells) {
    if (cells.length != columns.size()) {
      throw new IllegalArgumentException(
          "expected %s cells, got %s".formatted(columns.size(), cells.length));
    }
    rows.add(cells.clone());
    return this;
  }

  /** The table, a line for the titles and one for each row, each ended by a line break. */
  @Override
  public String toString() {
    StringBuilder text = new StringBuilder();
    int[] widths = new int[columns.size()];
    String[] titles = columns.stream().map(Column::title).toArray(String[]::new);
    rows.forEach(row -> widen(widths, row));
    widen(widths, titles);
    append(text, titles, widths);
    rows.forEach(row -> append(text, row, widths));
    return text.toString();
  }

  private static void widen(int[] widths, String[] cells) {
    for (int i = 0; i < cells.length; i++) {
      widths[i] = Math.max(widths[i], cells[i].length());
    }
  }

  private void append(StringBuilder text, String[] cells, int[] widths) {
    StringBuilder line = new StringBuilder(indent);
    for (int i = 0; i < cells.length; i++) {
      String padding = " ".repeat(widths[i] - cells[i].length());
      line.append(i == 0 ? "" : gap);
      line.append(columns.get(i).left() ? cells[i] + padding : padding + cells[i]);
    }
    text.append(line.toString().stripTrailing()).append('\n');
  }
}
