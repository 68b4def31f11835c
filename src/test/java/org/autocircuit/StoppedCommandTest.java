package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Path;
import org.autocircuit.cli.Main;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A command that is asked to end prints what it has done, and says which files are complete. */
class StoppedCommandTest {

  @TempDir private Path folder;

  /** Ends a command after a line of its output. */
  private static JavaProcess.Result end(String line, String... arguments) throws IOException {
    return new JavaProcess()
        .with("-Dorg.bytedeco.javacpp.maxPhysicalBytes=0")
        .terminate(Main.class, 120, line, 1, arguments);
  }

  @Test
  void discoverSaysWhichFilesAreComplete() throws IOException {
    Path scores = folder.resolve("scores.json");
    JavaProcess.Result result =
        end(
            "Circuits on 32 held-out prompts, all other edges patched",
            "discover",
            "--no-picture",
            "--random",
            "100000",
            "-o",
            scores.toString(),
            "--method",
            "weight-norm",
            "--sizes",
            "10");
    assertThat(result.output())
        .contains("autocircuit: stopped before the end; complete: " + scores)
        .doesNotContain("the JVM is shutting down", "Exception");
    assertThat(result.exitCode()).isEqualTo(143);
  }

  @Test
  void compareShowsTheMethodsThatRan() throws IOException {
    JavaProcess.Result result =
        end("         the circuit, 32 others to test it", "compare", "--all-methods");
    assertThat(result.output())
        .contains("autocircuit: stopped before the end")
        .containsPattern("method +CPR +CMD +KL 5 %")
        .doesNotContain("shutting down", "Shutdown");
  }
}
