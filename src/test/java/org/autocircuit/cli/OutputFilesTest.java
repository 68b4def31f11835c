package org.autocircuit.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.autocircuit.data.PromptDataset;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.PruneScoresJson;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Files that commands write are whole or the old ones, and nothing else stays behind. */
class OutputFilesTest {

  private static final int KILLS = 12;
  private static final String[] WRITTEN = {"circuit.svg", "model", "prompts.json", "scores.json"};

  @TempDir private Path folder;

  @Test
  @Tag("slow")
  void filesAreWholeWhereverAWriterIsKilled() throws Exception {
    Random random = new Random(1);
    OutputWriter.write(folder, 0);
    for (int kill = 0; kill < KILLS; kill++) {
      endWriter(random.nextInt(60), true);
      requireWhole();
    }
    OutputWriter.write(folder, 7);
    assertThat(names(folder)).containsExactlyInAnyOrder(WRITTEN);
    assertThat(names(folder.resolve("model")))
        .containsExactlyInAnyOrder(
            "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json");
  }

  @Test
  @Tag("slow")
  void nothingElseIsLeftWhenAWriterIsAskedToEnd() throws Exception {
    Random random = new Random(2);
    OutputWriter.write(folder, 0);
    for (int end = 0; end < KILLS; end++) {
      endWriter(random.nextInt(60), false);
      requireWhole();
      assertThat(names(folder)).containsExactlyInAnyOrder(WRITTEN);
      assertThat(names(folder.resolve("model"))).noneMatch(name -> name.startsWith("."));
    }
  }

  @Test
  @Tag("slow")
  void theFolderOfTheEmbeddedModelGoesWithTheProcess() throws Exception {
    Process command =
        java(
            List.of("-Djava.io.tmpdir=" + folder),
            Main.class,
            "discover",
            "--overwrite",
            "--random",
            "200");
    awaitAny(folder, command);
    command.destroy();
    assertThat(command.waitFor(60, TimeUnit.SECONDS)).isTrue();
    assertThat(names(folder)).isEmpty();

    Process killed =
        java(
            List.of("-Djava.io.tmpdir=" + folder),
            Main.class,
            "discover",
            "--overwrite",
            "--random",
            "200");
    awaitAny(folder, killed);
    killed.destroyForcibly().waitFor();
    Process next = java(List.of("-Djava.io.tmpdir=" + folder), Main.class, "graph");
    assertThat(next.waitFor(60, TimeUnit.SECONDS)).isTrue();
    assertThat(names(folder).stream().filter(name -> name.startsWith(".autocircuit"))).isEmpty();
  }

  @Test
  void anOldFileOutlivesADiskThatIsFull() throws Exception {
    OutputWriter.write(folder, 0);
    List<byte[]> before = contents();
    // A limit of the process for the size of its files, of 8 blocks of 512 bytes.
    Process writer =
        new ProcessBuilder(
                "sh",
                "-c",
                "ulimit -f 8; exec \"$@\"",
                "sh",
                javaCommand(),
                "-XX:-UsePerfData",
                "-cp",
                System.getProperty("java.class.path"),
                OutputWriter.class.getName(),
                folder.toString(),
                "1")
            .redirectErrorStream(true)
            .start();
    String output;
    try (BufferedReader reader = writer.inputReader()) {
      output = reader.lines().reduce("", (all, line) -> all + line + "\n");
    }
    assertThat(writer.waitFor()).isNotZero();
    assertThat(output).contains("scores.json: cannot be written: File too large");
    assertThat(contents()).containsExactlyElementsOf(before);
    assertThat(names(folder)).hasSize(4);
  }

  @Test
  void placesThatCannotBeWrittenAreRefusedBeforeTheComputation() throws Exception {
    Path scores = folder.resolve("scores.json");
    refused("there is no folder " + folder + "/none", "-o", folder.resolve("none/scores.json"));
    refused("it is a folder", "-o", folder);
    refused("--output /proc/x: cannot be written: no file can be made in /proc;", "-o", "/proc/x");
    Path file = Files.createFile(folder.resolve("file"));
    refused(file + " is not a folder", "-o", file.resolve("scores.json"));
    Path link = Files.createSymbolicLink(folder.resolve("link.svg"), scores);
    refused("--picture " + link + " is the file of --output, too", "-o", scores, "--picture", link);
    Path prompts = Files.writeString(folder.resolve("prompts.json"), "{}");
    refused(
        "--output " + folder + "/./prompts.json is the file of --prompts, too",
        "-p",
        prompts,
        "-o",
        folder.resolve(".").resolve("prompts.json"));
    assertThat(prompts).hasContent("{}");
    CommandRun train = CommandRun.of("train-example", "--output", file);
    assertThat(train.code()).isEqualTo(Main.USAGE);
    assertThat(train.err())
        .contains("--output " + file + ": cannot be written: it is not a folder");
  }

  @Test
  void aFolderWithoutPermissionIsRefusedBeforeTheComputation() throws Exception {
    Path closed = Files.createDirectory(folder.resolve("closed"));
    Files.setPosixFilePermissions(closed, PosixFilePermissions.fromString("r-xr-xr-x"));
    assumeTrue(!Files.isWritable(closed), "root may write everywhere");
    refused("permission denied", "-o", closed.resolve("scores.json"));
  }

  @Test
  void whatIsThereIsReplacedOnlyIfThatIsSaid() throws Exception {
    Path old = Files.writeString(folder.resolve("old.json"), "mine");
    String reason = " is there already; --overwrite replaces it, another ";
    refused("--output " + old + reason + "--output leaves it;", "-o", old);
    Path rest = folder.resolve("rest");
    refused("--json " + old + reason, "-o", rest, "--json", old);
    Path picture = Files.writeString(folder.resolve("old.svg"), "mine");
    refused("--picture " + picture + reason, "-o", rest, "--picture", picture);
    refused("--picture " + picture + reason, "patch-map", "--picture", picture);
    refused("--json " + old + reason, "patch-map", "--no-picture", "--json", old);
    CommandRun scored = CommandRun.of("discover", "--limit", 2, "--no-picture", "-o", rest);
    assertThat(scored.code()).as(scored.err()).isEqualTo(Main.OK);
    refused("--json " + old + reason, "evaluate", "--scores", rest, "--json", old);
    refused(
        "--output " + folder + " has files already; --overwrite replaces those of a model,",
        "train-example",
        "-o",
        folder);
    assertThat(old).hasContent("mine");
    assertThat(picture).hasContent("mine");

    CommandRun run = CommandRun.of("patch-map", "--limit", 1, "--picture", picture, "--overwrite");
    assertThat(run.code()).as(run.err()).isEqualTo(Main.OK);
    assertThat(picture).content().contains("<svg");
    // Nothing is lost in a device.
    refused("--picture " + picture + reason, "-o", "/dev/null", "--picture", picture);
  }

  private static void refused(String reason, Object... arguments) {
    List<Object> all = new ArrayList<>(List.of(arguments));
    if (arguments[0].toString().startsWith("-")) {
      all.add(0, "discover");
    }
    CommandRun run = CommandRun.of(all.toArray());
    assertThat(run.err()).contains(reason);
    assertThat(run.code()).isEqualTo(Main.USAGE);
    assertThat(run.out()).isEmpty();
  }

  /** Starts a writer and ends it a moment after it has written everything for the first time. */
  private void endWriter(int milliseconds, boolean kill) throws Exception {
    Process writer =
        java(List.of(), OutputWriter.class, folder.toString(), Integer.toString(1_000_000));
    try (BufferedReader reader = writer.inputReader()) {
      String line = reader.readLine();
      while (line != null && line.startsWith("Picked up ")) { // of JAVA_TOOL_OPTIONS, by the JVM
        line = reader.readLine();
      }
      assertThat(line).isEqualTo("written");
      Thread.sleep(milliseconds);
      if (kill) {
        writer.destroyForcibly();
      } else {
        writer.destroy();
      }
    }
    assertThat(writer.waitFor(60, TimeUnit.SECONDS)).isTrue();
  }

  private void requireWhole() throws IOException {
    PruneScores scores = PruneScoresJson.read(OutputWriter.GRAPH, folder.resolve("scores.json"));
    assertThat(scores.toArray()).containsOnly(scores.toArray()[0]);
    assertThat(Files.readString(folder.resolve("circuit.svg")).strip())
        .startsWith("<?xml")
        .endsWith("</svg>");
    assertThat(PromptDataset.read(folder.resolve("prompts.json")).size()).isEqualTo(2000);
    Path model = folder.resolve("model");
    if (Files.exists(model.resolve("tokenizer.json"))) {
      JsonNode words = new ObjectMapper().readTree(model.resolve("tokenizer.json").toFile());
      JsonNode config =
          new ObjectMapper().readTree(model.resolve("tokenizer_config.json").toFile());
      assertThat(words.at("/model/vocab/word0").isMissingNode())
          .isNotEqualTo(config.get("add_bos_token").asBoolean());
    }
  }

  private List<byte[]> contents() throws IOException {
    TreeMap<String, byte[]> files = new TreeMap<>();
    try (Stream<Path> paths = Files.walk(folder)) {
      for (Path path : paths.filter(Files::isRegularFile).toList()) {
        files.put(path.toString(), Files.readAllBytes(path));
      }
    }
    return List.copyOf(files.values());
  }

  private static void awaitAny(Path folder, Process process) throws Exception {
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
    while (!hasModel(folder) && process.isAlive() && System.nanoTime() < end) {
      Thread.sleep(5);
    }
    assertThat(names(folder)).isNotEmpty();
  }

  private static boolean hasModel(Path folder) throws IOException {
    try (Stream<Path> paths = Files.walk(folder)) {
      return paths.anyMatch(path -> path.endsWith("tokenizer.json"));
    } catch (UncheckedIOException changing) {
      return false;
    }
  }

  private static List<String> names(Path folder) throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files.map(file -> file.getFileName().toString()).toList();
    }
  }

  private static Process java(List<String> options, Class<?> main, String... arguments)
      throws IOException {
    List<String> command = new ArrayList<>(List.of(javaCommand(), "-XX:-UsePerfData"));
    command.add("-Dorg.bytedeco.javacpp.maxPhysicalBytes=0");
    command.addAll(options);
    command.addAll(List.of("-cp", System.getProperty("java.class.path"), main.getName()));
    command.addAll(List.of(arguments));
    return new ProcessBuilder(command).redirectErrorStream(true).start();
  }

  private static String javaCommand() {
    return Path.of(System.getProperty("java.home"), "bin", "java").toString();
  }
}
