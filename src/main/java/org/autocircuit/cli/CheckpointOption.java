package org.autocircuit.cli;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.Collection;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import org.autocircuit.PatchableModel;
import org.autocircuit.Threads;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.internal.VisibleText;
import org.autocircuit.pass.Checkpoint;
import org.autocircuit.pass.CheckpointFile;
import org.autocircuit.pass.Progress;
import org.autocircuit.prune.PruneAlgorithm;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.ResumableAlgorithm;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Lets a long command go on where it was stopped. A mixin of each command that can. */
final class CheckpointOption {

  private static final String NAME = "--checkpoint";
  private static final String WROTE = "wrote ";

  /** Options that change nothing of what is computed, or whose files' contents count instead. */
  private static final Set<String> WITHOUT_EFFECT =
      Set.of(
          NAME,
          "--model",
          "--tokenizer",
          "--prompts",
          "--scores",
          "--threads",
          "--output",
          "--json",
          "--page",
          "--picture",
          "--no-picture",
          "--picture-edges",
          "--overwrite",
          "--top",
          "--budget",
          "--debug",
          OptionsFile.NAME,
          "--help",
          "--version");

  @Spec(Spec.Target.MIXEE)
  private CommandSpec spec;

  @Option(
      names = NAME,
      paramLabel = "FILE",
      description =
          "Keep in this file how far the command is: if it is stopped, the same command resumes"
              + " from there. Deleted at the end.")
  private Path file;

  private CheckpointFile open;

  /** Refuses a place that cannot be written, and lets files be replaced that the run wrote. */
  void check(Outputs outputs) {
    if (file != null) {
      outputs.addWorkingFile(NAME, file);
      CheckpointFile.parts(file).stream()
          .filter(part -> part.startsWith(WROTE))
          .forEach(part -> outputs.mayReplace(Path.of(part.substring(WROTE.length()))));
    }
  }

  /**
   * Opens the file, and says so where there is something to resume.
   *
   * @param scores those that were read, if any
   */
  void open(ModelFolder folder, Prompts prompts, Outputs outputs, Collection<PruneScores> scores)
      throws IOException {
    if (file == null) {
      return;
    }
    Map<String, String> settings = new TreeMap<>();
    settings.put("command", spec.name());
    settings.put("version", RunFacts.version());
    settings.put("threads", String.valueOf(Threads.get()));
    settings.put("model", RunFacts.hashOfModel(folder.path()));
    settings.put("prompts", hash(prompts));
    int number = 0;
    for (PruneScores some : scores) {
      settings.put("scores " + ++number, RunFacts.hash(some));
    }
    for (OptionSpec option : spec.options()) {
      Object value = option.getValue();
      if (value != null && !WITHOUT_EFFECT.contains(option.longestName())) {
        settings.put(option.longestName(), String.valueOf(value));
      }
    }
    try {
      open = CheckpointFile.open(file, settings);
    } catch (IllegalArgumentException e) {
      throw new ParameterException(
          spec.commandLine(),
          "%s %s; another file, or none, begins from the beginning".formatted(NAME, e.getMessage()),
          e);
    }
    outputs.whenWritten(
        path -> open.part(WROTE + path.toAbsolutePath().normalize()).keep(new double[0]));
    if (open.isResumed()) {
      spec.commandLine().getErr().println("resuming from " + VisibleText.of(file.toString()));
      spec.commandLine().getErr().flush();
    }
  }

  /** The checkpoint of a part of the command. */
  Checkpoint part(String name) {
    return open == null ? Checkpoint.NONE : open.part(name);
  }

  /** Scores edges, from where it was stopped if the algorithm can. */
  PruneScores scores(
      String part,
      PruneAlgorithm algorithm,
      PatchableModel model,
      List<PromptPairBatch> batches,
      Progress progress) {
    return algorithm instanceof ResumableAlgorithm resumable
        ? resumable.pruneScores(model, batches, progress, part(part))
        : algorithm.pruneScores(model, batches, progress);
  }

  /** Ends the run, which is not gone on with. */
  void finish() throws IOException {
    if (open != null) {
      open.delete();
    }
  }

  /** Says how a command that was stopped can go on, if it can. */
  static Optional<String> advice(CommandSpec command) {
    return command.mixins().values().stream()
        .map(CommandSpec::userObject)
        .filter(CheckpointOption.class::isInstance)
        .map(CheckpointOption.class::cast)
        .map(CheckpointOption::advice)
        .findFirst();
  }

  private String advice() {
    return file != null && Files.exists(file)
        ? "the same command resumes from " + VisibleText.of(file.toString())
        : "with --checkpoint FILE the same command could resume";
  }

  private static String hash(Prompts prompts) {
    MessageDigest digest = RunFacts.digest();
    for (List<PromptPairBatch> batches : List.of(prompts.finding(), prompts.testing())) {
      add(digest, batches.size());
      for (PromptPairBatch batch : batches) {
        add(digest, batch.clean());
        add(digest, batch.corrupt());
        add(digest, batch.answers());
        add(digest, batch.wrongAnswers());
      }
    }
    return HexFormat.of().formatHex(digest.digest());
  }

  private static void add(MessageDigest digest, long[][] rows) {
    add(digest, rows.length);
    for (long[] row : rows) {
      add(digest, row.length);
      add(digest, row);
    }
  }

  private static void add(MessageDigest digest, long... values) {
    ByteBuffer bytes = ByteBuffer.allocate(Long.BYTES * values.length);
    bytes.asLongBuffer().put(values);
    digest.update(bytes.array());
  }
}
