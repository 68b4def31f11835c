package org.autocircuit.report;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import org.autocircuit.internal.AtomicFile;

/**
 * A table of numbers as a picture: cells from blue (negative) over white (0) to orange (positive),
 * which colour-blind readers tell apart, each with its number where cells are large enough. Cells
 * that are no numbers are grey.
 *
 * <p>Pictures stand alone: they need neither network nor other files. Immutable, safe to share
 * between threads.
 *
 * <pre>{@code
 * HeatMap.of("patching", List.of("block 0"), List.of("Mary", "and"), new double[][] {{0.9, 0}})
 *     .withNotes(List.of("share recovered"))
 *     .write(Path.of("map.svg"));
 * }</pre>
 */
public final class HeatMap {

  /** ColorBrewer's RdBu and PuOr: its blues, its oranges. */
  private static final int[] NEGATIVE = {0xf7f7f7, 0xd1e5f0, 0x92c5de, 0x4393c3, 0x2166ac};

  private static final int[] POSITIVE = {0xf7f7f7, 0xfee0b6, 0xfdb863, 0xe08214, 0xb35806};
  private static final String MISSING = "#9ca3af";
  private static final String INK = "#1f2937";
  private static final int MARGIN = 24;
  private static final int LARGE = 44;
  private static final int SMALL = 16;
  private static final int MOST_LARGE = 40;
  private static final int MOST_CHARACTERS = 18;
  private static final int LEGEND_STEPS = 21;

  private final String title;
  private final List<String> notes;
  private final List<String> rows;
  private final List<String> columns;
  private final double[][] values;

  private HeatMap(
      String title,
      List<String> notes,
      List<String> rows,
      List<String> columns,
      double[][] values) {
    this.title = Objects.requireNonNull(title, "title");
    this.notes = List.copyOf(notes);
    this.rows = List.copyOf(rows);
    this.columns = List.copyOf(columns);
    this.values = values;
  }

  /**
   * A picture of a table.
   *
   * @param title a line of text above
   * @param rows a label for each row
   * @param columns a label for each column
   * @param values {@code [rows][columns]}; copied
   * @throws IllegalArgumentException if there is no cell, or not one for each row and column
   */
  public static HeatMap of(
      String title, List<String> rows, List<String> columns, double[][] values) {
    if (rows.isEmpty() || columns.isEmpty() || values.length != rows.size()) {
      throw new IllegalArgumentException(
          "values: expected a row for each of %s labels and at least one column, got %s rows"
              .formatted(rows.size(), values.length));
    }
    for (double[] row : values) {
      if (row.length != columns.size()) {
        throw new IllegalArgumentException(
            "values: expected rows of %s, got %s".formatted(columns.size(), row.length));
      }
    }
    return new HeatMap(
        title,
        List.of(),
        rows,
        columns,
        Arrays.stream(values).map(double[]::clone).toArray(double[][]::new));
  }

  /** This picture with lines of text under its title: what is shown, under which conditions. */
  public HeatMap withNotes(List<String> lines) {
    return new HeatMap(title, lines, rows, columns, values);
  }

  /**
   * Writes the picture as an SVG image, in place of an older file when it is complete.
   *
   * @throws IllegalArgumentException if the name does not end in {@code .svg}
   * @throws IOException if the file cannot be written
   */
  public void write(Path file) throws IOException {
    CircuitPicture.requireSvg(file);
    AtomicFile.write(file, svg().getBytes(StandardCharsets.UTF_8));
  }

  /** The picture as an SVG document. */
  public String svg() {
    return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" + element();
  }

  private String element() {
    boolean large = columns.size() <= MOST_LARGE;
    int cellWidth = large ? LARGE : SMALL;
    int cellHeight = large ? LARGE / 2 : SMALL;
    double greatest = greatest();
    int left = MARGIN + 12 + 7 * longest(rows);
    int top = MARGIN + 44 + 18 * notes.size() + 6 * longest(columns);
    int right = left + cellWidth * columns.size();
    int bottom = top + cellHeight * rows.size();
    int text = notes.stream().mapToInt(String::length).max().orElse(0);
    int width = Math.max(right + 90, Math.max(MARGIN * 2 + 6 * text, left + 320));
    List<String> svg = new ArrayList<>();
    svg.add(
        line(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%1$d\" height=\"%2$d\""
                + " viewBox=\"0 0 %1$d %2$d\" font-family=\"sans-serif\" role=\"img\">",
            width, bottom + 64));
    svg.add(line("<title>%s</title>", SvgDrawing.escape(title)));
    svg.add("<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>");
    svg.add(text(MARGIN, MARGIN + 8, 16, "start", INK, title));
    for (int i = 0; i < notes.size(); i++) {
      svg.add(text(MARGIN, MARGIN + 30 + 18 * i, 12, "start", INK, notes.get(i)));
    }
    for (int column = 0; column < columns.size(); column++) {
      int x = left + cellWidth * column + cellWidth / 2 + 4;
      svg.add(
          line(
              "<text x=\"%1$d\" y=\"%2$d\" font-size=\"11\" fill=\"%3$s\""
                  + " transform=\"rotate(-60 %1$d %2$d)\">%4$s</text>",
              x, top - 6, INK, SvgDrawing.escape(shortened(columns.get(column)))));
    }
    for (int row = 0; row < rows.size(); row++) {
      int y = top + cellHeight * row;
      svg.add(text(left - 6, y + cellHeight / 2 + 4, 11, "end", INK, shortened(rows.get(row))));
      for (int column = 0; column < columns.size(); column++) {
        int x = left + cellWidth * column;
        double part = values[row][column] / greatest;
        svg.add(
            line(
                "<rect class=\"cell\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"%s\""
                    + " stroke=\"#e5e7eb\"><title>%s, %s: %s</title></rect>",
                x,
                y,
                cellWidth,
                cellHeight,
                colour(part),
                SvgDrawing.escape(rows.get(row)),
                SvgDrawing.escape(columns.get(column)),
                number(values[row][column])));
        if (large) {
          String ink = Math.abs(part) > 0.7 ? "#ffffff" : INK;
          svg.add(
              text(
                  x + cellWidth / 2,
                  y + cellHeight / 2 + 4,
                  10,
                  "middle",
                  ink,
                  number(values[row][column])));
        }
      }
    }
    legend(svg, left, bottom + 22, greatest);
    svg.add("</svg>");
    return String.join("\n", svg) + "\n";
  }

  private static void legend(List<String> svg, int x, int y, double greatest) {
    for (int step = 0; step < LEGEND_STEPS; step++) {
      double part = 2.0 * step / (LEGEND_STEPS - 1) - 1;
      svg.add(
          line(
              "<rect x=\"%d\" y=\"%d\" width=\"12\" height=\"12\" fill=\"%s\"/>",
              x + 12 * step, y, colour(part)));
    }
    int width = 12 * LEGEND_STEPS;
    svg.add(text(x, y + 26, 11, "start", INK, number(-greatest)));
    svg.add(text(x + width / 2, y + 26, 11, "middle", INK, "0"));
    svg.add(text(x + width, y + 26, 11, "end", INK, number(greatest)));
  }

  /** The greatest absolute number; 1 if there is none but 0. */
  private double greatest() {
    double greatest =
        Arrays.stream(values)
            .flatMapToDouble(Arrays::stream)
            .map(Math::abs)
            .filter(Double::isFinite)
            .max()
            .orElse(0);
    return greatest == 0 ? 1 : greatest;
  }

  /** Colours a part of the greatest number, from -1 to 1. */
  static String colour(double part) {
    if (Double.isNaN(part)) {
      return MISSING;
    }
    int[] colours = part < 0 ? NEGATIVE : POSITIVE;
    double at = Math.min(Math.abs(part), 1) * (colours.length - 1);
    int from = Math.min((int) at, colours.length - 2);
    double share = at - from;
    int mixed = 0;
    for (int shift = 16; shift >= 0; shift -= 8) {
      int a = colours[from] >> shift & 0xff;
      int b = colours[from + 1] >> shift & 0xff;
      mixed |= (int) Math.round(a + share * (b - a)) << shift;
    }
    return String.format(Locale.ROOT, "#%06x", mixed);
  }

  private static String number(double value) {
    String text = String.format(Locale.ROOT, "%.2f", value);
    return text.equals("-0.00") ? "0.00" : text;
  }

  private static int longest(List<String> labels) {
    return labels.stream().mapToInt(label -> shortened(label).length()).max().orElse(0);
  }

  private static String shortened(String label) {
    return label.length() <= MOST_CHARACTERS
        ? label
        : label.substring(0, MOST_CHARACTERS - 1) + "…";
  }

  private static String text(int x, int y, int size, String anchor, String colour, String text) {
    return line(
        "<text x=\"%d\" y=\"%d\" font-size=\"%d\" text-anchor=\"%s\" fill=\"%s\">%s</text>",
        x, y, size, anchor, colour, SvgDrawing.escape(text));
  }

  private static String line(String format, Object... arguments) {
    return String.format(Locale.ROOT, format, arguments);
  }

  /** The title and the size. */
  @Override
  public String toString() {
    return "HeatMap[%s, %s x %s]".formatted(title, rows.size(), columns.size());
  }
}
