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
 * <p>Pictures stand alone: they need neither network nor other files; to explore a circuit there is
 * {@link CircuitPage}. Immutable, safe to share between threads.
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
   * Writes the picture as an SVG image, in place of an older file when it is complete.
   *
   * @throws IllegalArgumentException if the name does not end in {@code .svg}
   * @throws IOException if the file cannot be written
   */
  public void write(Path file) throws IOException {
    requireSvg(file);
    AtomicFile.write(file, svg().getBytes(StandardCharsets.UTF_8));
  }

  /**
   * Refuses names of files that promise something else than an SVG image.
   *
   * @throws IllegalArgumentException if the name does not end in {@code .svg}
   */
  public static void requireSvg(Path file) {
    if (!file.toString().toLowerCase(Locale.ROOT).endsWith(".svg")) {
      throw new IllegalArgumentException("a picture's file name must end in .svg, got " + file);
    }
  }

  /** The picture as an SVG document. */
  public String svg() {
    return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" + SvgDrawing.of(layout, positions, title);
  }

  /** The title and the number of edges. */
  @Override
  public String toString() {
    return "CircuitPicture[%s, %s edges]".formatted(title, edges.size());
  }
}
