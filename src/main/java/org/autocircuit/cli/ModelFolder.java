package org.autocircuit.cli;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.model.HuggingFaceConfig;
import org.autocircuit.model.LoadOptions;
import org.autocircuit.model.Tokenizer;
import org.autocircuit.model.TransformerConfig;

/** A model folder or file, the user's or the embedded one, with its tokenizer loaded. */
final class ModelFolder implements AutoCloseable {

  private final EmbeddedModel embedded;
  private final Path folder;
  private final LoadOptions load;
  private final HuggingFaceConfig config;
  private final Tokenizer tokenizer;

  private ModelFolder(EmbeddedModel embedded, Path folder, ModelOptions options) {
    this.embedded = embedded;
    this.folder = folder;
    options.setThreads();
    load = options.loadOptions();
    // Before the tokenizer: what a folder is says more than that a file is missing in it.
    config = HuggingFaceConfig.ofModel(folder);
    tokenizer = Tokenizer.load(tokenizerFolder(folder, options.tokenizer));
  }

  static ModelFolder open(ModelOptions options) {
    if (options.folder != null) {
      requireModel(options.folder);
      return new ModelFolder(null, options.folder, options);
    }
    if (options.tokenizer != null) {
      throw new IllegalArgumentException(
          "--tokenizer %s: expected --model, too; the built-in model has its own tokenizer"
              .formatted(options.tokenizer));
    }
    EmbeddedModel embedded = EmbeddedModel.unpack();
    try {
      return new ModelFolder(embedded, embedded.folder(), options);
    } catch (RuntimeException e) {
      embedded.close();
      throw e;
    }
  }

  private static void requireModel(Path model) {
    if (!Files.exists(model) && !Files.isSymbolicLink(model)) {
      throw new IllegalArgumentException(
          ("--model %s: no such folder or file; nothing is downloaded: expected a folder with"
                  + " config.json, model.safetensors and tokenizer.json, or a GGUF file")
              .formatted(model));
    }
    if (Files.isRegularFile(model)
        && model.toString().matches(".*\\.(json|safetensors|bin|pth?|model)")) {
      throw new IllegalArgumentException(
          "--model %s: a file of a model folder; name the folder itself".formatted(model));
    }
  }

  private static Path tokenizerFolder(Path model, Path named) {
    if (named != null) {
      return named;
    }
    if (Files.isDirectory(model)) {
      return model;
    }
    Path beside = model.resolveSibling(Tokenizer.FILE_NAME);
    if (!Files.exists(beside)) {
      throw new IllegalArgumentException(
          ("--model %s: a GGUF file's own tokenizer is not read; name the folder that has its %s"
                  + " with --tokenizer")
              .formatted(model, Tokenizer.FILE_NAME));
    }
    return beside;
  }

  Tokenizer tokenizer() {
    return tokenizer;
  }

  /** How many tokens the model takes. */
  int longest() {
    return config().nCtx();
  }

  /** The model's structure. */
  TransformerConfig config() {
    return config.transformer();
  }

  /** Loads the weights. */
  PatchableModel patchable(PatchableModelOptions options) {
    return PatchableModel.open(folder, load, options);
  }

  /** The name and the sizes in one line. */
  String describe() {
    String name = embedded == null ? folder.toString() : EmbeddedModel.NAME + " (built in)";
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
    if (embedded != null) {
      embedded.close();
    }
  }
}
