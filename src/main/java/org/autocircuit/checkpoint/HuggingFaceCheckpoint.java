package org.autocircuit.checkpoint;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.UnaryOperator;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.internal.JsonFiles;
import org.autocircuit.internal.UnreadableFiles;

/**
 * A Hugging Face folder whose {@code config.json} and weights' headers were read and fit together;
 * also a GGUF file, as the folder that it was made from. Nothing is open: the weights' bytes are
 * for native code to read.
 *
 * @param config what {@code config.json} says
 * @param weights every weight with the places of its parts; an unembedding that is stored has its
 *     own, even if the configuration ties it
 */
record HuggingFaceCheckpoint(
    HuggingFaceConfig config, Map<StoredWeight, List<StoredTensor>> weights) {

  /** Takes the bytes of a part of a weight to a file. */
  interface PartBytes {
    SafetensorsWriter.TensorBytes of(StoredWeight weight, int part);
  }

  /**
   * Reads a model folder's configuration and the headers of its weights, or a GGUF file's.
   *
   * @throws CheckpointException if the folder or one of the files is missing, malformed,
   *     unsupported or contradicts the other
   */
  static HuggingFaceCheckpoint open(Path path) {
    return Files.isRegularFile(path) ? GgufCheckpoint.open(path) : openFolder(path);
  }

  private static HuggingFaceCheckpoint openFolder(Path folder) {
    if (UnreadableFiles.isDangling(folder)) {
      throw UnreadableFiles.missing(folder);
    }
    if (!Files.isDirectory(folder)) {
      throw new CheckpointException(
          "%s: no such folder, expected a model folder with %s and %s"
              .formatted(folder, HuggingFaceConfig.FILE_NAME, WeightFiles.SINGLE));
    }
    HuggingFaceConfig config = HuggingFaceConfig.read(folder);
    WeightFiles files = WeightFiles.open(folder);
    String prefix = config.family().prefix();
    boolean prefixed = files.tensors().keySet().stream().anyMatch(name -> name.startsWith(prefix));
    return locate(
        files,
        config,
        HuggingFaceConfig.FILE_NAME,
        name -> !prefixed && name.startsWith(prefix) ? name.substring(prefix.length()) : name);
  }

  /**
   * Finds every weight in the files.
   *
   * @param origin what messages call the place that the configuration is from
   * @param names from Hugging Face's name of a tensor to the one in the files
   * @throws CheckpointException if a tensor is missing, misshapen or superfluous
   */
  static HuggingFaceCheckpoint locate(
      WeightFiles files, HuggingFaceConfig config, String origin, UnaryOperator<String> names) {
    ModelFamily family = config.family();
    // A claim of a billion blocks must not make us name them all before the first is missing.
    if (config.transformer().nLayers() > files.tensors().size()) {
      throw new CheckpointException(
          "%s: has %s tensors, too few for the %s blocks of %s"
              .formatted(
                  files.path(), files.tensors().size(), config.transformer().nLayers(), origin));
    }
    Set<String> unexpected = new LinkedHashSet<>(files.tensors().keySet());
    boolean headStored = unexpected.contains(names.apply(family.head()));
    String embedding = family.embedding(config.transformer());
    // Files of tied models may hold the one tensor under either name.
    boolean headOnly =
        config.tiedEmbedding() && headStored && !unexpected.contains(names.apply(embedding));
    boolean tied = config.tiedEmbedding() && (headOnly || !headStored);
    Map<StoredWeight, List<StoredTensor>> located = new LinkedHashMap<>();
    for (StoredWeight weight : family.weights(config.transformer(), tied)) {
      List<StoredTensor> parts = new ArrayList<>();
      for (TensorSource.Part part : weight.source().parts()) {
        boolean other = headOnly && part.tensor().equals(embedding);
        String name = names.apply(other ? family.head() : part.tensor());
        parts.add(checked(files, name, part, origin, family));
        unexpected.remove(name);
      }
      located.put(weight, List.copyOf(parts));
    }
    unexpected.removeIf(family::isBuffer);
    if (!unexpected.isEmpty()) {
      throw UnreadableFolders.unexpected(files.path(), origin, unexpected);
    }
    return new HuggingFaceCheckpoint(config, Collections.unmodifiableMap(located));
  }

  /** The one tensor that a weight is made of. */
  StoredTensor part(String weight) {
    return weights.entrySet().stream()
        .filter(entry -> entry.getKey().name().equals(weight))
        .map(entry -> entry.getValue().get(0))
        .findFirst()
        .orElseThrow();
  }

  private static StoredTensor checked(
      WeightFiles files, String name, TensorSource.Part part, String origin, ModelFamily family) {
    StoredTensor stored = files.tensors().get(name);
    if (stored == null) {
      throw UnreadableFolders.missing(files, name, part, family);
    }
    if (!Arrays.equals(stored.shape(), part.shapeArray())) {
      throw new CheckpointException(
          "%s: tensor %s has shape %s, expected %s from %s"
              .formatted(
                  stored.file(), name, Arrays.toString(stored.shape()), part.shape(), origin));
    }
    if (!stored.isFloatingPoint()) {
      throw new CheckpointException(
          "%s: tensor %s is %s, expected one of F32, F16, BF16, F64"
              .formatted(stored.file(), name, stored.typeName()));
    }
    return stored;
  }

  /**
   * Writes {@code model.safetensors} and {@code config.json}, making the folder if need be; see
   * {@link JsonFiles#writeFolder}. {@link #open} reads them back, and so does Hugging Face's
   * reader.
   *
   * @throws CheckpointException if writing fails
   */
  static void save(Path folder, HuggingFaceConfig config, SafetensorsType type, PartBytes bytes) {
    SafetensorsWriter writer = new SafetensorsWriter().metadata("format", "pt");
    Set<TensorSource> written = new LinkedHashSet<>();
    for (StoredWeight weight :
        config.family().weights(config.transformer(), config.tiedEmbedding())) {
      if (!written.add(weight.source())) {
        continue;
      }
      List<TensorSource.Part> parts = weight.source().parts();
      for (int i = 0; i < parts.size(); i++) {
        writer.add(parts.get(i).tensor(), type, parts.get(i).shapeArray(), bytes.of(weight, i));
      }
    }
    JsonFiles.writeFolder(
        folder,
        HuggingFaceConfig.FILE_NAME,
        beside -> {
          writer.write(beside.resolve(WeightFiles.SINGLE));
          config.write(beside);
        });
  }
}
