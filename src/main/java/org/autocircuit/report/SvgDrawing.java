package org.autocircuit.report;

import java.util.Locale;
import java.util.function.IntFunction;
import org.autocircuit.graph.Edge;
import org.autocircuit.internal.VisibleText;
import org.autocircuit.prune.ScoredEdge;
import org.autocircuit.report.PictureLayout.Box;
import org.autocircuit.report.PictureLayout.Tie;

/** Draws a laid-out circuit as an SVG element. */
final class SvgDrawing {

  private static final String POSITIVE = "#d95f02";
  private static final String NEGATIVE = "#2563eb";
  private static final String INK = "#1f2937";
  private static final String GREY = "#6b7280";
  private static final double MIN_STROKE = 1;
  private static final double MAX_STROKE = 7;

  private final PictureLayout layout;
  private final IntFunction<String> positions;
  private final double greatest;
  private final StringBuilder svg = new StringBuilder();

  private SvgDrawing(PictureLayout layout, IntFunction<String> positions) {
    this.positions = positions;
    this.layout = layout;
    this.greatest = ScoreTable.greatest(layout.edges());
  }

  static String of(PictureLayout layout, IntFunction<String> positions, String title) {
    return new SvgDrawing(layout, positions).draw(title);
  }

  /** The edge's label, with the position if it has one, and what stands there. */
  static String label(Edge edge, IntFunction<String> positions) {
    if (edge.position().isEmpty()) {
      return edge.label();
    }
    int position = edge.position().getAsInt();
    String there = positions.apply(position);
    return edge.label() + " at position " + position + (there.isEmpty() ? "" : " " + there);
  }

  static String escape(String text) {
    return VisibleText.of(text)
        .replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace("\"", "&quot;");
  }

  private String draw(String title) {
    add(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%1$d\" height=\"%2$d\""
            + " viewBox=\"0 0 %1$d %2$d\" font-family=\"sans-serif\" role=\"img\">",
        layout.width(), layout.height());
    add("<title>%s</title>", escape(title));
    add("<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>");
    add(
        "<text x=\"%d\" y=\"28\" font-size=\"16\" font-weight=\"bold\" fill=\"%s\">%s</text>",
        PictureLayout.MARGIN, INK, escape(title));
    legend();
    // The greatest last, so that they lie on top.
    for (int i = layout.edges().size() - 1; i >= 0; i--) {
      edge(layout.edges().get(i));
    }
    layout.ties().forEach(this::tie);
    layout.boxes().forEach(this::box);
    return svg.append("</svg>\n").toString();
  }

  private void legend() {
    int x = PictureLayout.MARGIN;
    legendLine(x, POSITIVE, false, "positive: works for the answer");
    legendLine(x + 260, NEGATIVE, true, "negative: works against it");
    add(
        "<text x=\"%d\" y=\"70\" font-size=\"11\" fill=\"%s\">width: absolute score, up to"
            + " %s</text>",
        x, GREY, ScoreTable.score(greatest).substring(1));
  }

  private void legendLine(int x, String colour, boolean dashed, String text) {
    add(
        "<line x1=\"%d\" y1=\"48\" x2=\"%d\" y2=\"48\" stroke=\"%s\" stroke-width=\"4\"%s/>",
        x, x + 30, colour, dashed ? " stroke-dasharray=\"7 4\"" : "");
    add("<text x=\"%d\" y=\"52\" font-size=\"12\" fill=\"%s\">%s</text>", x + 38, INK, text);
  }

  private void edge(ScoredEdge scored) {
    Edge edge = scored.edge();
    Box from = layout.boxOf(edge.src());
    Box to = layout.boxOf(edge.dest());
    int y1 = from.middle();
    int y2 = to.port(PictureLayout.port(edge.dest()));
    double bend = Math.max(40, (to.x() - from.right()) * 0.45);
    int sag = PictureLayout.sag(from, to) * 4 / 3;
    double part = Math.abs(scored.score()) / greatest;
    double share = part >= 0 ? Math.min(1, part) : 0; // a score that is no number is thin
    boolean negative = scored.score() < 0;
    add(
        "<path class=\"edge\" data-from=\"%s\" data-to=\"%s\" d=\"M%d %d C%.1f %d %.1f %d %d %d\""
            + " fill=\"none\" stroke=\"%s\" stroke-width=\"%.2f\" stroke-opacity=\"0.75\"%s>"
            + "<title>%s: %s</title></path>",
        escape(from.name()),
        escape(to.name()),
        from.right(),
        y1,
        from.right() + bend,
        y1 + (from.low() ? sag : 0),
        to.x() - bend,
        y2 + (to.low() ? sag : 0),
        to.x(),
        y2,
        negative ? NEGATIVE : POSITIVE,
        MIN_STROKE + (MAX_STROKE - MIN_STROKE) * share,
        negative ? " stroke-dasharray=\"7 4\"" : "",
        escape(label(edge, positions)),
        ScoreTable.score(scored.score()));
  }

  private void tie(Tie tie) {
    add(
        "<line class=\"tie\" x1=\"%1$d\" y1=\"%2$d\" x2=\"%1$d\" y2=\"%3$d\" stroke=\"%4$s\""
            + " stroke-width=\"3\"/>",
        tie.x(), tie.top(), tie.bottom(), GREY);
  }

  private void box(Box box) {
    add(
        "<g class=\"node\" data-name=\"%s\"%s>",
        escape(box.name()), box.touched() ? "" : " opacity=\"0.35\"");
    add(
        "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"6\" fill=\"#f3f4f6\""
            + " stroke=\"%s\"/>",
        box.x(), box.y(), PictureLayout.BOX_WIDTH, PictureLayout.BOX_HEIGHT, INK);
    boolean single = box.lines().size() == 1;
    line(box, box.lines().get(0), single ? 4 : -2, 12, INK);
    if (!single) {
      line(box, box.lines().get(1), 11, 10, GREY);
    }
    for (String port : box.ports()) {
      add(
          "<text x=\"%d\" y=\"%d\" font-size=\"8\" fill=\"%s\">%s</text>",
          box.x() + 4, box.port(port) + 3, GREY, port);
    }
    add("</g>");
  }

  private void line(Box box, String text, int below, int size, String colour) {
    add(
        "<text x=\"%d\" y=\"%d\" font-size=\"%d\" text-anchor=\"middle\" fill=\"%s\">%s</text>",
        box.x() + PictureLayout.BOX_WIDTH / 2 + (box.ports().isEmpty() ? 0 : 4),
        box.middle() + below,
        size,
        colour,
        escape(text));
  }

  private void add(String format, Object... arguments) {
    svg.append(String.format(Locale.ROOT, format, arguments)).append('\n');
  }
}
