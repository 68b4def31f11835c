package org.autocircuit.cli;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.Figures;
import org.autocircuit.prune.CircuitScores;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.PruneScoresJson;

/** Files of scores that commands read. */
final class ScoresFile {

  private static final int BEGIN = 256;
  private static final Pattern FORMAT =
      Pattern.compile("^\\s*\\{\\s*\"format\"\\s*:\\s*\"([\\w-]+)\"");

  /** Options by the format of the files that they write. */
  private static final Map<String, String> OTHERS =
      Map.of(
          "autocircuit-discovery", "discover --json",
          "autocircuit-evaluation", "evaluate --json",
          "autocircuit-comparison", "compare --json",
          "autocircuit-run", "run --json",
          "autocircuit-patch-map", "patch-map --json");

  private ScoresFile() {}

  /** Reads scores of all edges of a graph; refuses the file of a circuit, which lacks some. */
  static PruneScores read(ModelGraph graph, Path file) throws IOException {
    CircuitScores read = readEither(graph, file);
    int size = read.edges().size();
    if (size < graph.nEdges()) {
      throw new IllegalArgumentException(
          String.format(
              Locale.ROOT,
              "%s is a circuit of %s, expected the scores of all %,d, as 'discover --output' writes"
                  + " them; 'autocircuit run' runs a circuit",
              file,
              Figures.count(size, "edge"),
              graph.nEdges()));
    }
    requireDifferent(read.scores(), file);
    return read.scores();
  }

  /** Reads scores of all edges of a graph, or those of a circuit's. */
  static CircuitScores readEither(ModelGraph graph, Path file) throws IOException {
    requireThere(file);
    Optional<String> other = other(file);
    if (other.isPresent()) {
      throw new IOException(
          "%s: what '%s' writes; the scores are in the file that 'discover --output' names, by"
                  .formatted(file, other.get())
              + " default "
              + Discover.SCORES);
    }
    return PruneScoresJson.readEither(graph, file);
  }

  /** Refuses scores that rank nothing. */
  static void requireDifferent(PruneScores scores, Path file) {
    try {
      scores.requireDifferent();
    } catch (IllegalArgumentException e) {
      throw new IllegalArgumentException("%s: %s".formatted(file, e.getMessage()), e);
    }
  }

  /** Refuses a file that is not there. */
  static void requireThere(Path file) throws IOException {
    if (!Files.exists(file)) {
      throw new IOException("%s: no such file; 'autocircuit discover' writes one".formatted(file));
    }
  }

  /** Returns what option of what command writes such a file, if another one does. */
  private static Optional<String> other(Path file) throws IOException {
    if (!Files.isRegularFile(file)) {
      return Optional.empty(); // a pipe can be read once only
    }
    try (InputStream in = Files.newInputStream(file)) {
      Matcher format = FORMAT.matcher(new String(in.readNBytes(BEGIN), StandardCharsets.UTF_8));
      return format.find() ? Optional.ofNullable(OTHERS.get(format.group(1))) : Optional.empty();
    }
  }
}
