package org.autocircuit.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.autocircuit.Threads;
import org.autocircuit.checkpoint.Checkpoints;
import org.autocircuit.model.Model;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

class TrainExampleTest {

  @TempDir private Path folder;

  private final StringWriter out = new StringWriter();
  private final StringWriter err = new StringWriter();
  private int threads;

  @BeforeEach
  void rememberThreads() {
    threads = Threads.get();
  }

  @AfterEach
  void restoreThreads() {
    Threads.set(threads);
  }

  @Test
  void savesAModelAndSaysHowGoodItIs() {
    Path output = folder.resolve("model");
    assertThat(run(output, "--until", "0.9")).isEqualTo(Main.FAILURE);
    assertThat(out.toString())
        .startsWith("Saved to " + output + " after 4 steps in ")
        .containsPattern("indirect object, ABB +1000 +\\d+\\.\\d % +5\\.\\d{3}\n")
        .containsPattern("three names +1000 ");
    assertThat(err.toString())
        .isEqualToNormalizingNewlines(
            "autocircuit: the accuracy is below 90.0 %; allow more --steps\n");
    try (Model model = Checkpoints.load(output)) {
      assertThat(model.config().nLayers()).isEqualTo(1);
    }
    assertThat(output.resolve("tokenizer.json")).exists();
  }

  @Test
  void wrongNumbersAreWrongUsage() {
    assertThat(run(folder, "--until", "98")).isEqualTo(Main.USAGE);
    assertThat(err.toString()).contains("accuracyGoal: expected in (0, 1], got 98.0");
    assertThat(run(folder, "--threads", "0")).isEqualTo(Main.USAGE);
    assertThat(run(folder, "--heads", "5")).isEqualTo(Main.USAGE);
    assertThat(Files.exists(folder.resolve("config.json"))).isFalse();
  }

  private int run(Path output, String... options) {
    List<String> arguments =
        new ArrayList<>(List.of("train-example", "--output", output.toString()));
    arguments.addAll(List.of("--layers", "1", "--d-model", "16"));
    arguments.addAll(List.of("--steps", "2", "--cool-down", "2", "--batch-size", "4"));
    arguments.addAll(List.of(options));
    CommandLine commandLine =
        Main.commandLine()
            .setOut(new PrintWriter(out, true))
            .setErr(new PrintWriter(err, true))
            .setOverwrittenOptionsAllowed(true);
    return commandLine.execute(arguments.toArray(String[]::new));
  }
}
