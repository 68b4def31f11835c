package org.autocircuit.text;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Collection;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.prune.CircuitScores;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.PruneScoresJson;
import org.autocircuit.prune.ScoredEdge;

/**
 * A circuit: some edges of a model with their scores, and what all other edges are patched with
 * when it runs alone. Saves and loads itself as JSON, in the format of {@link PruneScoresJson}.
 *
 * <pre>{@code
 * Circuit circuit = model.circuit(model.discover(prompts), 100);
 * circuit.save(Path.of("circuit.json"));
 * Circuit same = model.loadCircuit(Path.of("circuit.json"));
 * }</pre>
 *
 * <p>Plain Java data, immutable, safe to share between threads.
 */
public final class Circuit {

  private static final String MODEL = "model";
  private static final String ABLATION = "ablation";

  private final PruneScores scores;
  private final EdgeSet edges;
  private final Ablation ablation;
  private final String model;

  /** Scores of edges outside the circuit are 0. */
  private Circuit(PruneScores scores, EdgeSet edges, Ablation ablation, String model) {
    this.scores = scores;
    this.edges = edges;
    this.ablation = Objects.requireNonNull(ablation, "ablation");
    this.model = Objects.requireNonNull(model, "model");
  }

  /**
   * Makes a circuit of the edges with the greatest absolute scores.
   *
   * @param size number of edges; where scores tie at the end the circuit has more
   * @throws IllegalArgumentException if the size is negative or more than the number of edges, or
   *     if all scores are equal
   */
  public static Circuit of(PruneScores scores, int size) {
    scores.requireDifferent();
    return of(scores, scores.circuit(size));
  }

  /**
   * Makes a circuit of edges with their scores.
   *
   * @param scores of all edges
   * @throws IllegalArgumentException if scores and edges are those of different graphs
   */
  public static Circuit of(PruneScores scores, EdgeSet edges) {
    CircuitScores checked = new CircuitScores(scores, edges, Map.of());
    double[] inside = new double[scores.size()];
    edges.indices().forEach(index -> inside[index] = checked.scores().get(index));
    return new Circuit(PruneScores.of(edges.graph(), inside), edges, BatchAblation.RESAMPLE, "");
  }

  /** Makes a circuit of edges, each with score 1. */
  public static Circuit of(EdgeSet edges) {
    return of(PruneScores.ofCircuit(edges), edges);
  }

  /**
   * Makes a circuit of edges by name, each with score 1. A name means all positions, or as {@code
   * NAME@N} position N.
   *
   * @throws IllegalArgumentException if there is no edge of some name; suggests the nearest name
   */
  public static Circuit ofNames(ModelGraph graph, Collection<String> names) {
    return of(EdgeSet.ofNames(graph, names));
  }

  /** Returns this circuit with another ablation; {@code RESAMPLE} unless said. */
  public Circuit withAblation(Ablation value) {
    return new Circuit(scores, edges, value, model);
  }

  /** Returns this circuit with the name of the model that it was found in. */
  public Circuit withModel(String name) {
    return new Circuit(scores, edges, ablation, name);
  }

  /** The graph whose edges these are. */
  public ModelGraph graph() {
    return edges.graph();
  }

  /** The edges. */
  public EdgeSet edges() {
    return edges;
  }

  /** Number of edges. */
  public int size() {
    return edges.size();
  }

  /** The scores; 0 for edges outside the circuit. */
  public PruneScores scores() {
    return scores;
  }

  /** The edges by descending absolute score, NaN last; ties by edge index. */
  public List<ScoredEdge> sorted() {
    return edges
        .indices()
        .mapToObj(index -> new ScoredEdge(graph().edge(index), scores.get(index)))
        .sorted(
            Comparator.comparing(
                (ScoredEdge edge) -> Double.isNaN(edge.score()) ? 1 : -Math.abs(edge.score())))
        .toList();
  }

  /**
   * The edges of the greatest absolute scores.
   *
   * @param count how many, 0 or more; all where the circuit has fewer
   */
  public List<ScoredEdge> top(int count) {
    if (count < 0) {
      throw new IllegalArgumentException("top: expected 0 edges or more, got " + count);
    }
    return sorted().stream().limit(count).toList();
  }

  /** Returns what all other edges are patched with when the circuit runs alone. */
  public Ablation ablation() {
    return ablation;
  }

  /** Returns what the model is called that the circuit was found in; empty if nobody said. */
  public String model() {
    return model;
  }

  /**
   * Saves the circuit, in place of an existing file when it is complete.
   *
   * @throws IOException if the file cannot be written; names it
   */
  public void save(Path file) throws IOException {
    Map<String, String> properties = new LinkedHashMap<>();
    properties.put(MODEL, model);
    properties.put(ABLATION, ablation.name());
    PruneScoresJson.writeCircuit(new CircuitScores(scores, edges, properties), file);
  }

  /**
   * Loads a circuit.
   *
   * @param graph that of the model, with the options that the circuit was found with
   * @throws IOException if the file cannot be read, is not complete, or is not that of a circuit;
   *     names the file and the place in it
   * @throws IllegalArgumentException if the circuit is one of another graph: names the property
   *     that differs, or the unknown edge with the nearest existing one
   */
  public static Circuit load(ModelGraph graph, Path file) throws IOException {
    CircuitScores read = PruneScoresJson.readCircuit(graph, file);
    return new Circuit(
        read.scores(),
        read.edges(),
        ablation(property(read, ABLATION, file), file),
        property(read, MODEL, file));
  }

  private static String property(CircuitScores read, String name, Path file) throws IOException {
    String value = read.properties().get(name);
    if (value == null) {
      throw new IOException("%s does not say the circuit's '%s'".formatted(file, name));
    }
    return value;
  }

  private static Ablation ablation(String name, Path file) throws IOException {
    try {
      return Ablation.named(name);
    } catch (IllegalArgumentException e) {
      throw new IOException(
          "%s: the circuit's 'ablation' is '%s', expected one of %s"
              .formatted(file, name, Ablation.values()),
          e);
    }
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof Circuit that
        && edges.equals(that.edges)
        && scores.equals(that.scores)
        && ablation == that.ablation
        && model.equals(that.model);
  }

  @Override
  public int hashCode() {
    return Objects.hash(edges, ablation, model);
  }

  /** The sizes of the circuit and of the graph. */
  @Override
  public String toString() {
    return String.format(
        Locale.ROOT,
        "circuit of %,d of %,d edges%s",
        size(),
        graph().nEdges(),
        model.isEmpty() ? "" : " of " + model);
  }
}
