package org.autocircuit.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.PruneScoresJson;

/** Files of scores that commands read. */
final class ScoresFile {

  private ScoresFile() {}

  /** Reads scores of a graph's edges, or of a circuit's, whose other edges have score 0 then. */
  static PruneScores read(ModelGraph graph, Path file) throws IOException {
    if (!Files.exists(file)) {
      throw new IOException("%s: no such file; 'autocircuit discover' writes one".formatted(file));
    }
    PruneScores scores = PruneScoresJson.read(graph, file);
    try {
      scores.requireDifferent();
    } catch (IllegalArgumentException e) {
      throw new IllegalArgumentException("%s: %s".formatted(file, e.getMessage()), e);
    }
    return scores;
  }
}
