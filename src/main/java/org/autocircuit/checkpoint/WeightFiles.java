package org.autocircuit.checkpoint;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeSet;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.internal.JsonFiles;
import org.autocircuit.internal.UnreadableFiles;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The tensors of a model: those of {@code model.safetensors}, of the shards that {@code
 * model.safetensors.index.json} lists, or of a GGUF file. Only headers were read, and nothing is
 * open.
 *
 * @param path the one file, or the index, for messages
 * @param tensors name to place
 */
record WeightFiles(Path path, Map<String, StoredTensor> tensors) {

  static final String SINGLE = "model.safetensors";
  static final String INDEX = "model.safetensors.index.json";

  private static final String MAP = "weight_map";

  /** A tensor of a safetensors file. */
  record Stored(Path file, TensorEntry entry) implements StoredTensor {

    @Override
    public String name() {
      return entry.name();
    }

    @Override
    public long[] shape() {
      return entry.shape();
    }

    @Override
    public String typeName() {
      return entry.type().name();
    }

    @Override
    public boolean isFloatingPoint() {
      return entry.type().isFloatingPoint();
    }

    @Override
    public Tensor read(LoadOptions options) {
      ScalarType stored =
          switch (entry.type()) {
            case F64 -> ScalarType.Double;
            case F32 -> ScalarType.Float;
            case F16 -> ScalarType.Half;
            case BF16 -> ScalarType.BFloat16;
            default -> throw new IllegalArgumentException("weights cannot be " + typeName());
          };
      return read(
          stored,
          entry.begin(),
          entry.end(),
          entry.shape(),
          options.precision().scalarType(),
          options.device());
    }
  }

  static WeightFiles open(Path folder) {
    Path single = folder.resolve(SINGLE);
    Path index = folder.resolve(INDEX);
    if (!Files.exists(single) && Files.exists(index)) {
      return sharded(folder, index);
    }
    if (!Files.exists(single)) {
      throw UnreadableFolders.withoutWeights(folder);
    }
    Map<String, StoredTensor> tensors = new LinkedHashMap<>();
    SafetensorsFile file = SafetensorsFile.open(single);
    file.entries().forEach((name, entry) -> tensors.put(name, new Stored(single, entry)));
    return new WeightFiles(single, Collections.unmodifiableMap(tensors));
  }

  private static WeightFiles sharded(Path folder, Path index) {
    Map<String, String> shards = readIndex(index);
    Map<String, StoredTensor> tensors = new LinkedHashMap<>();
    for (String shard : new TreeSet<>(shards.values())) {
      Path path = folder.resolve(shard);
      if (!Files.isRegularFile(path)) {
        throw new CheckpointException(
            "%s: lists the shard %s, which is %s; is the download complete?"
                .formatted(
                    index,
                    shard,
                    UnreadableFiles.isDangling(path) ? UnreadableFiles.dangling(path) : "missing"));
      }
      SafetensorsFile file = SafetensorsFile.open(path);
      for (TensorEntry entry : file.entries().values()) {
        StoredTensor other = tensors.put(entry.name(), new Stored(path, entry));
        if (other != null) {
          throw new CheckpointException(
              "%s: tensor %s is both in %s and in %s"
                  .formatted(index, entry.name(), other.file().getFileName(), shard));
        }
      }
    }
    shards.forEach((tensor, shard) -> requirePlace(index, tensor, shard, tensors.get(tensor)));
    return new WeightFiles(index, Collections.unmodifiableMap(tensors));
  }

  private static void requirePlace(Path index, String tensor, String shard, StoredTensor found) {
    if (found == null) {
      throw new CheckpointException(
          "%s: puts tensor %s into %s, which has no such tensor".formatted(index, tensor, shard));
    }
    if (!found.file().getFileName().toString().equals(shard)) {
      throw new CheckpointException(
          "%s: puts tensor %s into %s, but it is in %s"
              .formatted(index, tensor, shard, found.file().getFileName()));
    }
  }

  /** Tensor to name of its shard. */
  private static Map<String, String> readIndex(Path index) {
    if (!(JsonFiles.readObject(index).get(MAP) instanceof ObjectNode map) || map.isEmpty()) {
      throw new CheckpointException(
          "%s: expected an object %s with the file of each tensor".formatted(index, MAP));
    }
    Map<String, String> shards = new LinkedHashMap<>();
    for (Map.Entry<String, JsonNode> tensor : map.properties()) {
      String shard = tensor.getValue().textValue();
      // A plain name: an index must not lead out of its folder.
      if (shard == null || !shard.matches("[\\w.-]+\\.safetensors")) {
        throw new CheckpointException(
            "%s: %s of %s is %s, expected the name of a .safetensors file beside the index"
                .formatted(index, MAP, tensor.getKey(), JsonFiles.describe(tensor.getValue())));
      }
      shards.put(tensor.getKey(), shard);
    }
    return shards;
  }
}
