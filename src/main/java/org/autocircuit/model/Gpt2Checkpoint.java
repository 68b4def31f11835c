package org.autocircuit.model;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * A Hugging Face GPT-2 folder whose {@code config.json} and {@code model.safetensors} were read and
 * fit together. Nothing but headers was read and nothing is open: the weights' bytes are for native
 * code to map, at the offsets given here. Immutable.
 *
 * <pre>{@code
 * Gpt2Checkpoint checkpoint = Gpt2Checkpoint.open(Path.of("gpt2"));
 * TensorEntry embedding = checkpoint.weights().get("embed.W_E");
 * }</pre>
 *
 * @param config what {@code config.json} says
 * @param file the weights' file
 * @param weights canonical name to place in {@code file}, as {@link Gpt2Weights#locate} gives it
 */
public record Gpt2Checkpoint(
    HuggingFaceConfig config, SafetensorsFile file, Map<String, TensorEntry> weights) {

  /** Name of the weights' file inside a model folder. */
  public static final String WEIGHTS_FILE_NAME = "model.safetensors";

  /**
   * Reads a model folder's configuration and the header of its weights.
   *
   * @param folder holds {@code config.json} and {@code model.safetensors}
   * @throws CheckpointException if the folder or one of the files is missing, malformed,
   *     unsupported or contradicts the other
   */
  public static Gpt2Checkpoint open(Path folder) {
    if (!Files.isDirectory(folder)) {
      throw new CheckpointException(
          "%s: no such folder, expected a model folder with %s and %s"
              .formatted(folder, HuggingFaceConfig.FILE_NAME, WEIGHTS_FILE_NAME));
    }
    HuggingFaceConfig config = HuggingFaceConfig.read(folder);
    Path weights = folder.resolve(WEIGHTS_FILE_NAME);
    for (String other : List.of("model.safetensors.index.json", "pytorch_model.bin")) {
      if (!Files.exists(weights) && Files.exists(folder.resolve(other))) {
        throw new CheckpointException(
            "%s: found %s, but only a single %s is supported"
                .formatted(folder, other, WEIGHTS_FILE_NAME));
      }
    }
    SafetensorsFile file = SafetensorsFile.open(weights);
    return new Gpt2Checkpoint(config, file, Gpt2Weights.locate(file, config));
  }

  /**
   * Writes {@code model.safetensors} and then {@code config.json}, each in one step, making the
   * folder if need be. {@link #open} reads them back, and so does Hugging Face's reader.
   *
   * @param folder where to
   * @param config the model
   * @param type type in which every weight is written
   * @param bytes canonical name to the weight's bytes in that type; exactly the weights of {@link
   *     Gpt2Weights#of}
   * @throws IllegalArgumentException if a weight is missing or one too many is given, for instance
   *     {@code unembed.b_U}, which the format has no place for
   * @throws CheckpointException if writing fails
   */
  public static void save(
      Path folder,
      HuggingFaceConfig config,
      SafetensorsType type,
      Map<String, SafetensorsWriter.TensorBytes> bytes) {
    SafetensorsWriter writer = new SafetensorsWriter().metadata("format", "pt");
    Set<String> superfluous = new LinkedHashSet<>(bytes.keySet());
    for (Gpt2Weights.Weight weight : Gpt2Weights.of(config.transformer(), config.tiedEmbedding())) {
      SafetensorsWriter.TensorBytes content = bytes.get(weight.name());
      if (content == null) {
        throw new IllegalArgumentException("weight " + weight.name() + " is missing");
      }
      writer.add(weight.savedName(), type, weight.shapeArray(), content);
      superfluous.remove(weight.name());
    }
    if (!superfluous.isEmpty()) {
      throw new IllegalArgumentException(
          "Hugging Face's GPT-2 with %s embedding has no place for %s"
              .formatted(config.tiedEmbedding() ? "tied" : "untied", superfluous));
    }
    try {
      Files.createDirectories(folder);
    } catch (IOException e) {
      throw new CheckpointException("%s: cannot be made: %s".formatted(folder, e), e);
    }
    writer.write(folder.resolve(WEIGHTS_FILE_NAME));
    config.write(folder);
  }
}
