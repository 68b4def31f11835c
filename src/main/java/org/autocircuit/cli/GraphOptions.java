package org.autocircuit.cli;

import org.autocircuit.PatchableModelOptions;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Option;

/** Options that say which edges there are. */
final class GraphOptions {

  @ArgGroup(exclusive = true)
  private Inputs inputs;

  @Option(
      names = "--residual",
      description =
          "Edges from every node to the residual stream only, each of which stands for its node.")
  private boolean residual;

  private static final class Inputs {
    @Option(
        names = "--separate-qkv",
        description = "A head's query, key and value inputs are nodes of their own (default).")
    private boolean separate;

    @Option(names = "--joint", description = "A head has one input for query, key and value.")
    private boolean joint;
  }

  boolean separateQkv() {
    return inputs == null || inputs.separate || !inputs.joint;
  }

  boolean factorized() {
    return !residual;
  }

  PatchableModelOptions modelOptions() {
    return PatchableModelOptions.defaults()
        .withFactorized(factorized())
        .withSeparateQkv(separateQkv());
  }
}
