package org.autocircuit.cli;

import java.nio.file.Path;
import java.util.Locale;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.checkpoint.HuggingFaceConfig;
import org.autocircuit.checkpoint.LoadOptions;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.generate.Generator;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.text.ExampleFolder;
import org.autocircuit.text.ModelFiles;
import org.autocircuit.tokenizer.Tokenizer;

/** A model folder or file, the user's or the embedded one, with its tokenizer loaded. */
final class ModelFolder implements AutoCloseable {

  private final ExampleFolder example;
  private final ModelFiles files;
  private final LoadOptions load;
  private final HuggingFaceConfig config;
  private final Tokenizer tokenizer;

  private ModelFolder(ExampleFolder example, ModelFiles files, ModelOptions options) {
    this.example = example;
    this.files = files;
    options.setThreads();
    load = options.loadOptions();
    // Before the tokenizer: what a folder is says more than that a file is missing in it.
    config = files.config();
    tokenizer = files.loadTokenizer();
  }

  static ModelFolder open(ModelOptions options) {
    if (options.folder != null) {
      return new ModelFolder(null, files(options), options);
    }
    if (options.tokenizer != null) {
      throw new IllegalArgumentException(
          "--tokenizer %s: expected --model, too; the built-in model has its own tokenizer"
              .formatted(options.tokenizer));
    }
    ExampleFolder example = ExampleFolder.unpack();
    try {
      return new ModelFolder(example, ModelFiles.of(example.path()), options);
    } catch (RuntimeException e) {
      example.close();
      throw e;
    }
  }

  /** Refuses a model that is not there; nothing is read yet. */
  static void requireThere(ModelOptions options) {
    if (options.folder != null) {
      files(options);
    }
  }

  private static ModelFiles files(ModelOptions options) {
    try {
      return options.tokenizer == null
          ? ModelFiles.of(options.folder)
          : new ModelFiles(options.folder, options.tokenizer);
    } catch (CheckpointException e) {
      throw new CheckpointException("--model " + e.getMessage(), e);
    }
  }

  Tokenizer tokenizer() {
    return tokenizer;
  }

  /** Returns how many tokens the model takes. */
  int longest() {
    return config().nCtx();
  }

  /** The model's structure. */
  TransformerConfig config() {
    return config.transformer();
  }

  /** Returns the folder or the file of the model. */
  Path path() {
    return files.model();
  }

  /** Begins a generator of its model, whose answers end at the tokens that its files name. */
  Generator.Builder generator(PatchableModel model) {
    return Generator.builder(model).tokenizer(tokenizer).stopTokens(config.eosTokenIds());
  }

  /** Loads the weights. */
  PatchableModel patchable(PatchableModelOptions options) {
    return PatchableModel.open(files.model(), load, options);
  }

  /** Returns the model's name. */
  String name() {
    return example == null ? files.name() : ExampleFolder.NAME;
  }

  /** The name and the sizes in one line. */
  String describe() {
    String name = example == null ? files.model().toString() : ExampleFolder.NAME + " (built in)";
    return name + ": " + describe(config);
  }

  static String describe(HuggingFaceConfig config) {
    TransformerConfig sizes = config.transformer();
    return String.format(
        Locale.ROOT,
        "%d layers, %d heads%s, d_model %d, vocabulary %,d, %,d weights",
        sizes.nLayers(),
        sizes.nHeads(),
        sizes.groupedQueries() ? ", " + keyValueHeads(sizes.nKeyValueHeads()) : "",
        sizes.dModel(),
        sizes.dVocab(),
        config.nWeights());
  }

  private static String keyValueHeads(int n) {
    return n + (n == 1 ? " key/value head" : " key/value heads");
  }

  @Override
  public void close() {
    tokenizer.close();
    if (example != null) {
      example.close();
    }
  }
}
