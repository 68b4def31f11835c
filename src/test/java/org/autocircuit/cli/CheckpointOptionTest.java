package org.autocircuit.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Commands that are stopped go on where they were. */
class CheckpointOptionTest {

  private static final long PATIENCE_SECONDS = 120;

  @TempDir private static Path shared;

  private static Path model;
  private static Path prompts;

  @TempDir private Path folder;

  @BeforeAll
  static void writeModel() throws IOException {
    model = TinyModel.write(shared.resolve("tiny"));
    prompts = shared.resolve("pairs.json");
    TinyModel.prompts().write(prompts);
  }

  private Path checkpoint() {
    return folder.resolve("ck");
  }

  @Test
  void ctrlCKeepsWhatWasDoneAndTheSameCommandGoesOn() throws Exception {
    List<String> command =
        List.of(
            "discover",
            "--method",
            "exact",
            "--no-picture",
            "--threads",
            "1",
            "--output",
            folder.resolve("scores.json").toString(),
            "--checkpoint",
            checkpoint().toString());
    int stops = 0;
    Ended ended = run(command, /* stop= */ true);
    while (ended.code() == Main.STOPPED && stops < 3) {
      stops++;
      assertThat(ended.output())
          .contains("autocircuit: stopped before the end; ")
          .contains("; the same command resumes from " + checkpoint());
      assertThat(checkpoint()).exists();
      ended = run(command, /* stop= */ stops < 3);
      assertThat(ended.output()).contains("resuming from " + checkpoint());
    }
    assertThat(stops).as(ended.output()).isPositive();
    assertThat(ended.code()).as(ended.output()).isEqualTo(Main.OK);
    assertThat(checkpoint()).doesNotExist();

    Path whole = folder.resolve("whole.json");
    List<Object> uninterrupted = new ArrayList<>(command.subList(0, 6));
    uninterrupted.addAll(List.of("--output", whole, "--sizes", 5, "--random", 0));
    CommandRun run = CommandRun.of(uninterrupted.toArray());
    assertThat(run.code()).as(run.err()).isEqualTo(Main.OK);
    assertThat(withoutCommand(folder.resolve("scores.json"))).isEqualTo(withoutCommand(whole));
  }

  /** Reads a file, but for the command that wrote it. */
  private static JsonNode withoutCommand(Path file) throws IOException {
    JsonNode root = new ObjectMapper().readTree(file.toFile());
    assertThat(((ObjectNode) root.get("run")).remove("command")).isNotNull();
    return root;
  }

  /** Says how a process ended, and what it printed to both of its streams. */
  private record Ended(int code, String output) {}

  /** Runs a command in a process of its own; stops it as soon as it has a new checkpoint. */
  private Ended run(List<String> arguments, boolean stop) throws Exception {
    Path env = Path.of("/usr/bin/env");
    assumeTrue(Files.isExecutable(env), "a shell's background jobs ignore SIGINT");
    List<String> words = new ArrayList<>(List.of(env.toString(), "--default-signal=INT"));
    words.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    words.addAll(List.of("-XX:-UsePerfData", "-Dorg.bytedeco.javacpp.maxPhysicalBytes=0"));
    words.addAll(List.of("-cp", System.getProperty("java.class.path"), Main.class.getName()));
    words.addAll(arguments);
    Path log = folder.resolve("log");
    long before = time();
    Process process =
        new ProcessBuilder(words).redirectErrorStream(true).redirectOutput(log.toFile()).start();
    try {
      long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_SECONDS);
      while (stop && process.isAlive() && time() == before && System.nanoTime() < end) {
        Thread.sleep(20);
      }
      if (stop && process.isAlive()) {
        new ProcessBuilder("kill", "-INT", String.valueOf(process.pid())).start().waitFor();
      }
      assertThat(process.waitFor(PATIENCE_SECONDS, TimeUnit.SECONDS)).isTrue();
      return new Ended(process.exitValue(), Files.readString(log));
    } finally {
      process.destroyForcibly();
    }
  }

  private long time() throws IOException {
    return Files.exists(checkpoint()) ? Files.getLastModifiedTime(checkpoint()).toMillis() : 0;
  }

  private CommandRun discover(Object... more) {
    return run("discover", "--no-picture", "--output", folder.resolve("s.json"), more);
  }

  private CommandRun run(String command, Object a, Object b, Object c, Object... more) {
    List<Object> all = new ArrayList<>(List.of(command, a, b, c));
    all.addAll(List.of("--model", model, "--prompts", prompts, "--checkpoint", checkpoint()));
    all.addAll(Arrays.asList(more));
    return CommandRun.of(all.toArray());
  }

  @Test
  void otherSettingsAreRefusedByName() throws Exception {
    Path full = Path.of("/dev/full"); // so that it ends early
    assumeTrue(Files.exists(full));
    CommandRun run = discover("--method", "exact", "--json", full);
    assertThat(run.code()).as(run.out()).isEqualTo(Main.FAILURE);

    CommandRun other = discover("--method", "exact", "--metric", "prob");
    assertThat(other.code()).isEqualTo(Main.USAGE);
    assertThat(other.err())
        .contains(checkpoint() + " is of another run: --metric was not set, is prob; another file");
    assertThat(discover("--method", "eap").err()).contains("--method was exact, is eap");
    assertThat(discover("--method", "exact", "--limit", 4).err()).contains(" is of another run: ");
    assertThat(checkpoint()).exists();

    // Options of output may change.
    CommandRun same = discover("--method", "exact", "--top", 3);
    assertThat(same.code()).as(same.err()).isEqualTo(Main.OK);
    assertThat(same.err()).contains("resuming from ");
    assertThat(checkpoint()).doesNotExist();
    CommandRun evaluation =
        run("evaluate", "--scores", folder.resolve("s.json"), "--signed", "--metric", "prob");
    assertThat(evaluation.code()).as(evaluation.err()).isEqualTo(Main.OK);
    CommandRun comparison = run("compare", "--methods", "eap,exact", "--metric=prob");
    assertThat(comparison.code()).as(comparison.err()).isEqualTo(Main.OK);
    assertThat(checkpoint()).doesNotExist();
  }

  @Test
  void aFileThatIsNoCheckpointIsLeftAsItIs() throws Exception {
    Files.writeString(checkpoint(), "mine");
    CommandRun run = discover("--method", "eap");
    assertThat(run.code()).isEqualTo(Main.FAILURE);
    assertThat(run.err()).contains(checkpoint() + ": no checkpoint, or a part of one");
    assertThat(checkpoint()).hasContent("mine");
    assertThat(discover("--json", checkpoint()).err()).contains("is the file of --checkpoint, too");
  }

  @Test
  void filesThatTheRunItselfWroteMayBeReplaced() throws Exception {
    // The scores are written, and a full disk keeps the last file from it.
    Path full = Path.of("/dev/full");
    assumeTrue(Files.exists(full));
    CommandRun run = discover("--method", "eap", "--budget", 0, "--json", full);
    assertThat(run.code()).as(run.out()).isEqualTo(Main.FAILURE);
    assertThat(folder.resolve("s.json")).exists();
    CommandRun next = discover("--method", "eap", "--budget", 0);
    assertThat(next.code()).as(next.err()).isEqualTo(Main.OK);
    assertThat(next.err()).contains("resuming from ");
    assertThat(discover("--method", "eap").err()).contains("is there already; --overwrite");
  }
}
