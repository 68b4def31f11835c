package org.autocircuit.cli;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import org.autocircuit.data.IndirectObjectPrompts;
import org.autocircuit.data.PromptDataset;
import org.autocircuit.exception.PromptDatasetException;
import org.autocircuit.tokenizer.Tokenizer;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;

/** Options that say which pairs of prompts there are. */
class PairOptions {

  @Option(
      names = {"-p", "--prompts"},
      paramLabel = "FILE",
      description =
          "Pairs of clean and corrupt prompts with answers, as JSON; needed with --model. Without"
              + " it the indirect-object sentences that come with the program.")
  private Path file;

  @Option(
      names = "--limit",
      paramLabel = "N",
      description = "Use the first N pairs only; no more of the file is read.")
  private Integer limit;

  @Option(
      names = "--batch-size",
      paramLabel = "N",
      defaultValue = "32",
      description = "Pairs of one forward pass. Default: ${DEFAULT-VALUE}.")
  private int batchSize;

  /**
   * Refuses wrong options, and a model or prompts that are not there, before the places of output
   * are looked at.
   */
  void check(CommandSpec spec, ModelOptions model) {
    if (file == null && model.folder != null) {
      throw new ParameterException(
          spec.commandLine(),
          "--model needs --prompts FILE: the prompts that come with the program fit its own model"
              + " only");
    }
    if ((limit != null && limit < 1) || batchSize < 1) {
      throw new ParameterException(
          spec.commandLine(), "--limit and --batch-size must be at least 1");
    }
    ModelFolder.requireThere(model);
    if (file != null && !Files.exists(file)) {
      throw new PromptDatasetException("%s: no such file".formatted(file));
    }
  }

  /** The prompt file, if one was named. */
  final Optional<Path> file() {
    return Optional.ofNullable(file);
  }

  /** Pairs of one forward pass. */
  final int batchSize() {
    return batchSize;
  }

  final PromptDataset dataset() {
    int most = limit == null ? Integer.MAX_VALUE : limit;
    if (file != null) {
      return PromptDataset.read(file, most);
    }
    PromptDataset all = IndirectObjectPrompts.builtIn();
    return all.slice(0, Math.min(most, all.size()));
  }

  /** Reads the pairs, and keeps some of them, the last ones, apart. */
  final Prompts read(PromptDataset used, int testing, Tokenizer tokenizer, int longest) {
    String name = file == null ? "indirect-object sentences (built in)" : file.toString();
    return Prompts.of(name, used, testing, tokenizer, batchSize, longest);
  }

  /** Reads the pairs. */
  Prompts read(Tokenizer tokenizer, int longest) {
    return read(dataset(), 0, tokenizer, longest);
  }
}
