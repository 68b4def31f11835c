package org.autocircuit.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.autocircuit.NativeScope;
import org.autocircuit.checkpoint.GgufFiles;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;

/** Commands on a GGUF file, against the same commands on the folder that it was made from. */
@ExtendWith(NativeScope.class)
class GgufModelTest {

  @TempDir private static Path shared;

  private static Path folder;
  private static Path file;

  @TempDir private Path other;

  @BeforeAll
  static void writeModel() throws IOException {
    folder = TinyModel.writeLlama(shared.resolve("folder"));
    file = Files.createDirectory(shared.resolve("gguf")).resolve("model.gguf");
    GgufFiles.convert(folder, file, GgufFiles.F32);
  }

  /** Returns what was printed, without the line that names the model. */
  private static String facts(CommandRun run) {
    // A model with random weights does no task clearly.
    assertThat(run.err().lines().filter(line -> !line.startsWith("warning: the model and")))
        .isEmpty();
    assertThat(run.code()).isEqualTo(Main.OK);
    return run.out()
        .replaceAll("(?m)^(model|time|scores) .*(\\n  +.*)*$", "")
        .replace(file.toString(), "MODEL")
        .replace(folder.toString(), "MODEL");
  }

  @Test
  void graphsAreTheFolders() {
    assertThat(facts(CommandRun.of("graph", file)))
        .isEqualTo(facts(CommandRun.of("graph", folder)));
    assertThat(facts(CommandRun.of("graph", file, "--list")))
        .isEqualTo(facts(CommandRun.of("graph", folder, "--list")));
  }

  @Test
  void runsAreTheFolders() throws IOException {
    Object[] prompt = {"--prompt", "Mary and John went, John gave it to", "--patch", "A0.1->MLP 1"};
    CommandRun expected = run("run", folder, prompt);
    assertThat(facts(run("run", file, prompt, "--tokenizer", folder))).isEqualTo(facts(expected));
    Path beside = Files.copy(file, other.resolve("model.gguf"));
    Files.copy(folder.resolve("tokenizer.json"), other.resolve("tokenizer.json"));
    assertThat(run("run", beside, prompt).code()).isEqualTo(Main.OK);
  }

  @Test
  void discoveriesAreTheFolders() {
    Path prompts = other.resolve("prompts.json");
    TinyModel.prompts().write(prompts);
    Object[] options = {
      "--prompts",
      prompts,
      "--sizes",
      "5",
      "--random",
      1,
      "--no-picture",
      "--overwrite",
      "-o",
      other.resolve("scores.json")
    };
    String expected = facts(run("discover", folder, options));
    assertThat(facts(run("discover", file, options, "--tokenizer", folder))).isEqualTo(expected);
  }

  private static CommandRun run(String command, Path model, Object[] options, Object... more) {
    Object[] arguments = new Object[3 + options.length + more.length];
    arguments[0] = command;
    arguments[1] = "--model";
    arguments[2] = model;
    System.arraycopy(options, 0, arguments, 3, options.length);
    System.arraycopy(more, 0, arguments, 3 + options.length, more.length);
    return CommandRun.of(arguments);
  }

  private static void assertFails(CommandRun run, String message) {
    assertThat(run.code()).isEqualTo(Main.FAILURE);
    assertThat(run.err().lines()).hasSize(1);
    assertThat(run.err()).contains(message);
  }

  @Test
  void saysWhatIsMissing() {
    Object[] prompt = {"--prompt", "Mary"};
    assertFails(
        run("run", file, prompt),
        "--model " + file + ": a GGUF file's own tokenizer is not read; name the folder");
    assertFails(
        run("run", file, prompt, "--tokenizer", other),
        other.resolve("tokenizer.json") + ": no such file");
    assertFails(
        CommandRun.of("run", "--prompt", "Mary", "--tokenizer", folder),
        "--tokenizer " + folder + ": expected --model, too");
    assertFails(
        run("run", Path.of("gpt2"), prompt),
        "--model gpt2: no such folder or file; nothing is downloaded: expected a folder with");
    assertFails(
        run("run", folder.resolve("model.safetensors"), prompt),
        "model.safetensors: a file of a model folder; name the folder itself");
    assertFails(
        CommandRun.of("graph", "gpt2"),
        "gpt2: no such file; nothing is downloaded: expected a model folder");
  }
}
