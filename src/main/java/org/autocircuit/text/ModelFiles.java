package org.autocircuit.text;

import java.nio.file.Files;
import java.nio.file.Path;
import org.autocircuit.checkpoint.HuggingFaceConfig;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.tokenizer.Tokenizer;

/**
 * Says where the weights and the tokenizer of a model are. Nothing is read until it is asked for,
 * and nothing is ever downloaded. Immutable.
 *
 * @param model a Hugging Face folder with {@code config.json} and {@code model.safetensors} (or its
 *     shards with their index), or a GGUF file
 * @param tokenizer a folder with {@code tokenizer.json}, or that file
 */
public record ModelFiles(Path model, Path tokenizer) {

  /**
   * Looks for what the paths name.
   *
   * @throws CheckpointException if there is no such model, or it is a single file of a model folder
   */
  public ModelFiles {
    requireModel(model);
  }

  /**
   * Looks for a model and for the tokenizer in its folder; that of a GGUF file is looked for beside
   * the file.
   *
   * @throws CheckpointException if there is no such model, a file is no GGUF file, or one has no
   *     {@code tokenizer.json} beside it
   */
  public static ModelFiles of(Path model) {
    requireModel(model);
    if (Files.isDirectory(model)) {
      return new ModelFiles(model, model);
    }
    // The kind of file says more than that no tokenizer is beside it.
    HuggingFaceConfig.ofModel(model);
    Path beside = model.resolveSibling(Tokenizer.FILE_NAME);
    if (!Files.exists(beside)) {
      throw new CheckpointException(
          ("%s: a GGUF file's own tokenizer is not read; name the folder that has its %s, too"
                  + " (--tokenizer; in Java new ModelFiles(model, tokenizer))")
              .formatted(model, Tokenizer.FILE_NAME));
    }
    return new ModelFiles(model, beside);
  }

  /** Returns what the model is called: its folder or file, without those around it. */
  public String name() {
    Path last = model.toAbsolutePath().normalize().getFileName();
    return last == null ? model.toString() : last.toString();
  }

  /**
   * Reads the structure of the model, not its weights.
   *
   * @throws CheckpointException naming the file, the key, the value met and what is supported
   */
  public HuggingFaceConfig config() {
    return HuggingFaceConfig.ofModel(model);
  }

  /**
   * Loads the tokenizer.
   *
   * @return to be closed by the caller
   * @throws CheckpointException if a file is missing or malformed
   */
  public Tokenizer loadTokenizer() {
    return Tokenizer.load(tokenizer);
  }

  private static void requireModel(Path model) {
    if (!Files.exists(model) && !Files.isSymbolicLink(model)) {
      throw new CheckpointException(
          ("%s: no such folder or file; nothing is downloaded: expected a folder with"
                  + " config.json, model.safetensors and tokenizer.json, or a GGUF file")
              .formatted(model));
    }
    if (Files.isRegularFile(model)
        && model.toString().matches(".*\\.(json|safetensors|bin|pth?|model)")) {
      throw new CheckpointException(
          "%s: a file of a model folder; name the folder itself".formatted(model));
    }
  }
}
