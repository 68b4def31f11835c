package org.autocircuit.cli;

import org.autocircuit.data.PromptDataset;
import org.autocircuit.tokenizer.Tokenizer;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;

/** Options that say which prompts there are, and which of them test what the others find. */
final class PromptOptions extends PairOptions {

  @Option(
      names = "--held-out",
      paramLabel = "PERCENT",
      defaultValue = "50",
      description =
          "Share of the pairs, the last ones, that is not used to find the circuit but to test it;"
              + " with 0 all pairs are used for both. Default: ${DEFAULT-VALUE}.")
  private double heldOut;

  @Override
  void check(CommandSpec spec, ModelOptions model) {
    super.check(spec, model);
    if (!(heldOut >= 0 && heldOut < 100)) {
      throw new ParameterException(
          spec.commandLine(), "--held-out must be per cent from 0 to below 100, got " + heldOut);
    }
  }

  @Override
  Prompts read(Tokenizer tokenizer, int longest) {
    PromptDataset used = dataset();
    int testing = (int) Math.round(used.size() * heldOut / 100);
    // At least one pair on either side, where there are two.
    testing = heldOut > 0 ? Math.max(1, Math.min(testing, used.size() - 1)) : 0;
    return read(used, used.size() < 2 ? 0 : testing, tokenizer, longest);
  }
}
