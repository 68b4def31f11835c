package org.autocircuit.cli;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.Figures;
import org.autocircuit.internal.VisibleText;
import org.autocircuit.prune.CircuitScores;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Options that say which edges are patched: some by name, or all but those of a circuit. */
final class PatchedEdges {

  private static final Pattern POSITION = Pattern.compile(".*@\\d{1,9}");

  @Spec(Spec.Target.MIXEE)
  private CommandSpec spec;

  @Option(
      names = "--patch",
      paramLabel = "EDGE",
      description = "An edge to patch, at all positions or as EDGE@N at one. Repeatable.")
  private List<String> names = new ArrayList<>();

  @Option(
      names = "--keep",
      paramLabel = "EDGE",
      description =
          "An edge to keep, at all positions or as EDGE@N at one: all others are patched."
              + " Repeatable.")
  private List<String> kept = new ArrayList<>();

  @Option(
      names = {"-s", "--scores"},
      paramLabel = "FILE",
      description =
          "Scores as 'autocircuit discover' writes them, or a circuit that a program saved: all"
              + " edges are patched but the best, as many as --size says.")
  private Path scores;

  @Option(
      names = "--size",
      paramLabel = "N",
      description =
          "Number of edges of the circuit that --scores pick, exactly: of edges whose scores are"
              + " equal, those that come first in the graph. Default: all of a circuit that a program"
              + " saved.")
  private Integer size;

  @Option(
      names = "--per-position",
      description = "The scores are those of edges at each token position.")
  private boolean scoresPerPosition;

  /** The circuit that is kept, once it was read. */
  private EdgeSet circuit;

  /** Returns whether any are asked for. */
  boolean isGiven() {
    return isCircuit() || !names.isEmpty();
  }

  /** Returns whether all edges are patched but some. */
  boolean isCircuit() {
    return scores != null || !kept.isEmpty();
  }

  /** The edges that were named. */
  List<String> names() {
    return names;
  }

  /** Returns whether edges are those of single token positions. */
  boolean perPosition() {
    return scoresPerPosition
        || Stream.concat(names.stream(), kept.stream()).anyMatch(PatchedEdges::hasPosition);
  }

  static boolean hasPosition(String name) {
    return POSITION.matcher(name).matches();
  }

  /** Refuses options that contradict each other. */
  void check() {
    List<String> given = new ArrayList<>();
    if (!names.isEmpty()) {
      given.add("--patch");
    }
    if (!kept.isEmpty()) {
      given.add("--keep");
    }
    if (scores != null) {
      given.add("--scores");
    }
    if (given.size() > 1) {
      throw wrongUsage(
          "%s both say what is patched: give one of them"
              .formatted(String.join(" and ", given.subList(0, 2))));
    }
    if (scores == null && size == null && scoresPerPosition) {
      throw wrongUsage(
          "--per-position says what --scores are of, and has no effect without them; --patch"
              + " EDGE@N patches an edge at one position");
    }
    if (scores == null && size != null) {
      throw wrongUsage("--scores FILE and --size N belong together");
    }
    if (size != null && size < 0) {
      throw wrongUsage("--size must not be negative, got " + size);
    }
  }

  /** The edges to patch. */
  EdgeSet of(ModelGraph graph) throws IOException {
    if (!kept.isEmpty()) {
      return EdgeSet.ofNames(graph, kept).complement();
    }
    if (scores == null) {
      return EdgeSet.ofNames(graph, names);
    }
    CircuitScores read = ScoresFile.readEither(graph, scores);
    circuit = circuit(read, graph.nEdges());
    return circuit.complement();
  }

  private EdgeSet circuit(CircuitScores read, int nEdges) {
    int most = read.edges().size();
    if (size == null && most == nEdges) {
      throw wrongUsage(
          "--scores %s has the scores of all edges: --size N says how many to keep"
              .formatted(scores));
    }
    if (size == null || size == most) {
      return read.edges();
    }
    if (size > most) {
      throw wrongUsage(
          most == nEdges
              ? String.format(Locale.ROOT, "--size %,d: the graph has only %,d edges", size, most)
              : String.format(
                  Locale.ROOT,
                  "%s is a circuit of %s; --size %,d asks for more",
                  scores,
                  Figures.count(most, "edge"),
                  size));
    }
    ScoresFile.requireDifferent(read.scores(), scores);
    return Circuits.top(read.scores(), size, /* signed= */ false);
  }

  /** Says which edges of a circuit are patched. */
  String describeCircuit(ModelGraph graph) {
    if (!kept.isEmpty()) {
      return String.format(
          Locale.ROOT,
          "all edges but the %,d kept of %,d",
          EdgeSet.ofNames(graph, kept).size(),
          graph.nEdges());
    }
    return String.format(
        Locale.ROOT,
        "all edges but the best %,d of %,d by %s",
        circuit.size(),
        graph.nEdges(),
        VisibleText.of(scores.toString()));
  }

  /** Notes the file of scores, which no output may replace; refuses one that is not there. */
  void keep(Outputs outputs) throws IOException {
    if (scores != null) {
      ScoresFile.requireThere(scores);
      outputs.keep("--scores", scores);
    }
  }

  /** Adds which edges are patched, if any are. */
  void addTo(ObjectNode json) {
    if (scores != null) {
      json.putObject("circuit").put("scores", scores.toString()).put("edges", circuit.size());
    } else if (!names.isEmpty()) {
      names.forEach(json.putArray("patched")::add);
    }
  }

  private ParameterException wrongUsage(String message) {
    return new ParameterException(spec.commandLine(), message);
  }
}
