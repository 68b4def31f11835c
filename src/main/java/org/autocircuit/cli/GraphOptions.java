package org.autocircuit.cli;

import org.autocircuit.PatchableModelOptions;
import org.autocircuit.model.TransformerConfig;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Options that say which edges there are. */
final class GraphOptions {

  @Spec(Spec.Target.MIXEE)
  private CommandSpec spec;

  @ArgGroup(exclusive = true)
  private Inputs inputs;

  @Option(
      names = "--residual",
      description =
          "Edges from every node to the residual stream only, each of which stands for its node.")
  private boolean residual;

  @Option(
      names = "--ungroup",
      description =
          "In a model with grouped queries, whose query heads share key/value heads: key and value"
              + " inputs for each query head, not for each key/value head.")
  private boolean ungroup;

  private static final class Inputs {
    @Option(
        names = "--separate-qkv",
        description = "A head's query, key and value inputs are nodes of their own (default).")
    private boolean separate;

    @Option(names = "--joint", description = "A head has one input for query, key and value.")
    private boolean joint;
  }

  private boolean separateQkv() {
    return inputs == null || inputs.separate || !inputs.joint;
  }

  /** Refuses options that exclude each other. */
  void check() {
    if (residual && inputs != null) {
      throw new ParameterException(
          spec.commandLine(),
          "%s has no effect with --residual, where heads have no inputs of their own"
              .formatted(inputs.joint ? "--joint" : "--separate-qkv"));
    }
    if (ungroup && (residual || !separateQkv())) {
      throw new ParameterException(
          spec.commandLine(),
          "--ungroup has no effect with %s, where keys and values have no inputs of their own"
              .formatted(residual ? "--residual" : "--joint"));
    }
  }

  /** The options for a model; refuses those that mean nothing to it. */
  PatchableModelOptions modelOptions(TransformerConfig config) {
    if (ungroup && !config.groupedQueries()) {
      throw new ParameterException(
          spec.commandLine(),
          ("--ungroup: each of the model's %s query heads has keys and values of its own; there is"
                  + " nothing to ungroup")
              .formatted(config.nHeads()));
    }
    return PatchableModelOptions.defaults()
        .withFactorized(!residual)
        .withSeparateQkv(separateQkv())
        .withUngroupKeyValues(ungroup);
  }
}
