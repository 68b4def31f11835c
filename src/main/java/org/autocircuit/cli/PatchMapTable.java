package org.autocircuit.cli;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import org.autocircuit.eval.ActivationSite;
import org.autocircuit.eval.PatchDirection;
import org.autocircuit.eval.PatchMap;
import org.autocircuit.internal.VisibleText;
import org.autocircuit.report.TextTable;

/**
 * A map of activation patching as people look at it: layer by position, or layer by head where
 * heads were patched at all positions together.
 */
final class PatchMapTable {

  private static final int WIDTH = 80;
  private static final int CELL = 4;

  private final PatchDirection direction;
  private final List<String> rows;
  private final List<String> columns;
  private final double[][] shares;

  private PatchMapTable(
      PatchDirection direction, List<String> rows, List<String> columns, double[][] shares) {
    this.direction = direction;
    this.rows = rows;
    this.columns = columns;
    this.shares = shares;
  }

  /**
   * Lays a map out.
   *
   * @param tokens what stands at each position
   */
  static PatchMapTable of(PatchMap map, List<String> tokens) {
    if (!map.eachPosition() && map.site() == ActivationSite.HEADS) {
      return byHead(map);
    }
    double[][] shares = new double[map.rows().size()][map.columns()];
    for (int row = 0; row < shares.length; row++) {
      for (int column = 0; column < map.columns(); column++) {
        shares[row][column] = map.share(row, column);
      }
    }
    List<String> columns =
        map.eachPosition() ? tokens.subList(0, map.columns()) : List.of("all positions");
    return new PatchMapTable(map.direction(), map.rows(), columns, shares);
  }

  private static PatchMapTable byHead(PatchMap map) {
    int heads = (int) map.rows().stream().filter(row -> row.startsWith("A0.")).count();
    int blocks = map.rows().size() / heads;
    double[][] shares = new double[blocks][heads];
    for (int row = 0; row < map.rows().size(); row++) {
      shares[row / heads][row % heads] = map.share(row, 0);
    }
    return new PatchMapTable(
        map.direction(),
        IntStream.range(0, blocks).mapToObj(block -> "block " + block).toList(),
        IntStream.range(0, heads).mapToObj(head -> "head " + head).toList(),
        shares);
  }

  List<String> rows() {
    return rows;
  }

  /** Labels of the columns. */
  List<String> columns() {
    return columns;
  }

  double[][] shares() {
    return shares;
  }

  /** Returns what the numbers say. */
  String meaning() {
    return direction == PatchDirection.DENOISING
        ? "share of the difference that the clean activation alone brings back, (patched -"
            + " corrupt) / (clean - corrupt)"
        : "share of the difference that the corrupt activation alone takes away, (clean - patched)"
            + " / (clean - corrupt)";
  }

  /** The shares in per cent; columns that no line of 80 has room for follow below. */
  @Override
  public String toString() {
    StringBuilder text = new StringBuilder();
    int label = rows.stream().mapToInt(String::length).max().orElse(0);
    int first = 0;
    while (first < columns.size()) {
      int width = label;
      int end = first;
      while (end < columns.size() && (end == first || width + width(end) <= WIDTH)) {
        width += width(end++);
      }
      text.append(first == 0 ? "" : System.lineSeparator()).append(part(first, end));
      first = end;
    }
    return text.toString();
  }

  private int width(int column) {
    return 1 + Math.max(CELL, visible(column).length());
  }

  private String visible(int column) {
    return VisibleText.of(columns.get(column));
  }

  private TextTable part(int first, int end) {
    TextTable table = new TextTable().gap(1).left("");
    for (int column = first; column < end; column++) {
      table.right(" ".repeat(Math.max(0, CELL - visible(column).length())) + visible(column));
    }
    for (int row = 0; row < rows.size(); row++) {
      List<String> cells = new ArrayList<>(List.of(rows.get(row)));
      for (int column = first; column < end; column++) {
        cells.add(Long.toString(Math.round(100 * shares[row][column])));
      }
      table.row(cells.toArray(String[]::new));
    }
    return table;
  }
}
