package org.autocircuit.cli;

import java.io.IOException;
import java.io.PrintWriter;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.graph.ModelGraph;

/** Opens what commands on prompts need: the model, its folder, and the prompts. */
final class PromptedModel {

  /** Does what needs no weights, so that what is wrong is said before they are loaded. */
  interface Preparation {

    /** Reads what belongs to a graph, and checks options against it. */
    void on(ModelGraph graph) throws IOException;
  }

  /** The rest of a command. */
  interface Work {

    /** Works with what is open until it returns. */
    void on(ModelFolder folder, PatchableModel model, Prompts prompts) throws IOException;
  }

  private PromptedModel() {}

  /**
   * Opens, prints warnings of the prompts, works and closes, and shows that the model is loading.
   *
   * @param perPosition an edge for each token position; refuses prompts of different lengths
   */
  static void use(
      ModelOptions modelOptions,
      PromptOptions promptOptions,
      GraphOptions graphOptions,
      boolean perPosition,
      PrintWriter err,
      Preparation preparation,
      Work work)
      throws IOException {
    try (PhaseProgress loading = PhaseProgress.waiting("loading the model", err);
        ModelFolder folder = ModelFolder.open(modelOptions)) {
      Prompts prompts = promptOptions.read(folder.tokenizer(), folder.longest());
      Failures.warn(err, prompts.warnings());
      PatchableModelOptions options = graphOptions.modelOptions(folder.config());
      if (perPosition) {
        options = options.withSeqLen(prompts.tokens().oneLength());
      }
      preparation.on(options.graph(folder.config()));
      try (PatchableModel model = folder.patchable(options)) {
        loading.close();
        work.on(folder, model, prompts);
      }
    }
  }
}
