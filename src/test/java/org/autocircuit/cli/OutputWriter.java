package org.autocircuit.cli;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.autocircuit.data.PromptDataset;
import org.autocircuit.data.PromptPair;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.PruneScoresJson;
import org.autocircuit.report.CircuitPicture;
import org.autocircuit.tokenizer.WordLevelVocabulary;

/** Writes every kind of output into a folder again and again, until the process is ended. */
final class OutputWriter {

  static final ModelGraph GRAPH =
      ModelGraph.of(
          TransformerConfig.builder().nLayers(3).dModel(64).nHeads(8).dVocab(10).build(),
          true,
          true);

  private static final int PROMPTS = 2000;

  private OutputWriter() {}

  public static void main(String[] arguments) throws IOException {
    Path folder = Path.of(arguments[0]);
    int times = Integer.parseInt(arguments[1]);
    for (int version = 0; version < times; version++) {
      write(folder, version);
      System.out.println("written"); // from here on there are old files
    }
  }

  /** Writes files all of whose parts tell the version. */
  static void write(Path folder, int version) throws IOException {
    double[] values = new double[GRAPH.maskSize()];
    Arrays.fill(values, 1 + version);
    PruneScores scores = PruneScores.of(GRAPH, values);
    PruneScoresJson.write(scores, folder.resolve("scores.json"));
    CircuitPicture.of(GRAPH, scores.top(40), "version " + version)
        .write(folder.resolve("circuit.svg"));
    PromptPair pair = new PromptPair("clean " + version, "corrupt", List.of("a"), List.of("b"));
    new PromptDataset(Collections.nCopies(PROMPTS, pair)).write(folder.resolve("prompts.json"));
    new WordLevelVocabulary(List.of("word" + version % 2))
        .write(folder.resolve("model"), version % 2 == 0);
  }
}
