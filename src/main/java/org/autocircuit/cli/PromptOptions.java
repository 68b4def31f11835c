package org.autocircuit.cli;

import java.nio.file.Path;
import java.util.Optional;
import org.autocircuit.data.IndirectObjectPrompts;
import org.autocircuit.data.PromptDataset;
import org.autocircuit.tokenizer.Tokenizer;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;

/** Options that say which prompts there are, and how they are used. */
final class PromptOptions {

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
      names = "--held-out",
      paramLabel = "PERCENT",
      defaultValue = "50",
      description =
          "Share of the pairs, the last ones, that is not used to find the circuit but to test it;"
              + " with 0 all pairs are used for both. Default: ${DEFAULT-VALUE}.")
  private double heldOut;

  @Option(
      names = "--batch-size",
      paramLabel = "N",
      defaultValue = "32",
      description = "Pairs of one forward pass. Default: ${DEFAULT-VALUE}.")
  private int batchSize;

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
    if (!(heldOut >= 0 && heldOut < 100)) {
      throw new ParameterException(
          spec.commandLine(), "--held-out must be per cent from 0 to below 100, got " + heldOut);
    }
  }

  /** The prompt file, if one was named. */
  Optional<Path> file() {
    return Optional.ofNullable(file);
  }

  private PromptDataset builtIn() {
    PromptDataset all = IndirectObjectPrompts.builtIn();
    return all.slice(0, Math.min(most(), all.size()));
  }

  private int most() {
    return limit == null ? Integer.MAX_VALUE : limit;
  }

  Prompts read(Tokenizer tokenizer, int longest) {
    PromptDataset used = file == null ? builtIn() : PromptDataset.read(file, most());
    int testing = (int) Math.round(used.size() * heldOut / 100);
    // At least one pair on either side, where there are two.
    testing = heldOut > 0 ? Math.max(1, Math.min(testing, used.size() - 1)) : 0;
    String name = file == null ? "indirect-object sentences (built in)" : file.toString();
    return Prompts.of(name, used, used.size() < 2 ? 0 : testing, tokenizer, batchSize, longest);
  }
}
