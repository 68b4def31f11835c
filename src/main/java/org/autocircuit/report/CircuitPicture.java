package org.autocircuit.report;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.function.IntFunction;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.AtomicFile;
import org.autocircuit.prune.ScoredEdge;

/**
 * A picture of a circuit: nodes in columns from the model's input on the left to its output on the
 * right, edges between them as curves, as wide as their absolute score. Edges with a positive score
 * are orange and solid, those with a negative one blue and dashed. A head's query, key and value
 * inputs are three places at its left side. A key/value head that several query heads read is a box
 * above theirs, tied to them, with the places for key and value.
 *
 * <p>Pictures stand alone: they need neither network nor other files. Immutable, safe to share
 * between threads.
 *
 * <pre>{@code
 * CircuitPicture.of(graph, scores.top(40), "my circuit").write(Path.of("circuit.svg"));
 * }</pre>
 */
public final class CircuitPicture {

  private final String title;
  private final List<ScoredEdge> edges;
  private final PictureLayout layout;
  private final IntFunction<String> positions;

  private CircuitPicture(
      ModelGraph graph, List<ScoredEdge> edges, String title, IntFunction<String> positions) {
    this.positions = Objects.requireNonNull(positions, "positions");
    this.title = Objects.requireNonNull(title, "title");
    this.edges = List.copyOf(edges);
    this.edges.forEach(edge -> graph.index(edge.edge()));
    this.layout = PictureLayout.of(graph, this.edges);
  }

  /**
   * A picture of some edges. Nodes without an edge are shown, too, in a small graph.
   *
   * @param graph the whole graph
   * @param edges what to draw, the most important first
   * @param title a line of text above
   * @throws IllegalArgumentException if an edge is not part of the graph
   */
  public static CircuitPicture of(ModelGraph graph, List<ScoredEdge> edges, String title) {
    return of(graph, edges, title, position -> "");
  }

  /**
   * The same, with what stands at each position beside it.
   *
   * @param positions a label or a token for each position
   */
  public static CircuitPicture of(
      ModelGraph graph, List<ScoredEdge> edges, String title, IntFunction<String> positions) {
    return new CircuitPicture(graph, edges, title, positions);
  }

  /**
   * Writes the picture: a page if the name ends in {@code .html}, an SVG image if it ends in {@code
   * .svg}, in place of an older file when it is complete.
   *
   * @throws IllegalArgumentException if it ends otherwise
   * @throws IOException if the file cannot be written
   */
  public void write(Path file) throws IOException {
    AtomicFile.write(file, (isHtml(file) ? html() : svg()).getBytes(StandardCharsets.UTF_8));
  }

  /**
   * Says whether a file of that name would be a page, and not an image.
   *
   * @throws IllegalArgumentException if it would be neither
   */
  public static boolean isHtml(Path file) {
    String name = file.toString().toLowerCase(Locale.ROOT);
    if (name.endsWith(".html") || name.endsWith(".htm")) {
      return true;
    }
    if (name.endsWith(".svg")) {
      return false;
    }
    throw new IllegalArgumentException(
        "a picture's file name must end in .svg or .html, got " + file);
  }

  /** The picture as an SVG document. */
  public String svg() {
    return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" + SvgDrawing.of(layout, positions, title);
  }

  /** The picture in a page, with a list of the edges; pointing at a node shows its edges alone. */
  public String html() {
    StringBuilder page = new StringBuilder();
    page.append("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
        .append("<meta name=\"viewport\" content=\"width=device-width\">\n<title>")
        .append(SvgDrawing.escape(title))
        .append("</title>\n<style>\n")
        .append("body{font:14px sans-serif;margin:24px;color:#1f2937;background:#fff}\n")
        .append(".picture{overflow-x:auto}\n")
        // A little smaller than it is, so as to fit; beyond that it would not be legible.
        .append("svg{max-width:100%;min-width:")
        .append(layout.width() * 3 / 4)
        .append("px;height:auto}\n")
        .append("td,th{padding:2px 14px 2px 0;text-align:left}\n")
        .append("td.n{text-align:right;font-variant-numeric:tabular-nums}\n")
        .append("svg.focus .edge:not(.on){opacity:.06}\n")
        .append("</style>\n</head>\n<body>\n<div class=\"picture\">\n")
        .append(SvgDrawing.of(layout, positions, title))
        .append("</div>\n<table>\n<tr><th>#</th><th>edge</th><th>score</th></tr>\n");
    int rank = 0;
    for (ScoredEdge edge : edges) {
      page.append("<tr><td class=\"n\">")
          .append(++rank)
          .append("</td><td>")
          .append(SvgDrawing.escape(SvgDrawing.label(edge.edge(), positions)))
          .append("</td><td class=\"n\">")
          .append(ScoreTable.score(edge.score()))
          .append("</td></tr>\n");
    }
    return page.append("</table>\n<script>\n")
        .append("const s=document.querySelector('svg');\n")
        .append("s.querySelectorAll('.node').forEach(n=>{\n")
        .append("const es=[...s.querySelectorAll('.edge')].filter(e=>\n")
        .append("e.dataset.from===n.dataset.name||e.dataset.to===n.dataset.name);\n")
        .append("n.onmouseenter=()=>{s.classList.add('focus');")
        .append("es.forEach(e=>e.classList.add('on'))};\n")
        .append("n.onmouseleave=()=>{s.classList.remove('focus');")
        .append("es.forEach(e=>e.classList.remove('on'))};\n")
        .append("});\n</script>\n</body>\n</html>\n")
        .toString();
  }

  /** The title and the number of edges. */
  @Override
  public String toString() {
    return "CircuitPicture[%s, %s edges]".formatted(title, edges.size());
  }
}
