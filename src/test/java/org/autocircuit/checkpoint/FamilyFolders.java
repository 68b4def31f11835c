package org.autocircuit.checkpoint;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import org.autocircuit.internal.JsonFiles;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Model;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.model.WeightShapes;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Writes models as folders, under Hugging Face's names. */
public final class FamilyFolders {

  private FamilyFolders() {}

  static ScalarType scalarType(SafetensorsType type) {
    return switch (type) {
      case F64 -> ScalarType.Double;
      case F32 -> ScalarType.Float;
      case F16 -> ScalarType.Half;
      case BF16 -> ScalarType.BFloat16;
      default -> throw new IllegalArgumentException(type.toString());
    };
  }

  /** Writes a model of one of {@link FamilyModels#names()} in 64 bits. */
  public static void write(String name, Path folder) {
    try (PointerScope scope = new PointerScope()) {
      write(FamilyModels.named(name), folder, SafetensorsType.F64);
    }
  }

  static void write(FamilyModel model, Path folder, SafetensorsType type) {
    writeConfig(model.config, folder);
    writeFile(model.tensors, folder.resolve("model.safetensors"), type);
  }

  /** Tensors go to the shards in turn, so that the parts of most weights are apart. */
  static void writeSharded(FamilyModel model, Path folder, SafetensorsType type, int shards) {
    writeConfig(model.config, folder);
    ObjectNode index = JsonNodeFactory.instance.objectNode();
    index.putObject("metadata").put("total_size", 1);
    ObjectNode map = index.putObject("weight_map");
    List<Map<String, Tensor>> contents = new ArrayList<>();
    for (int i = 0; i < shards; i++) {
      contents.add(new LinkedHashMap<>());
    }
    int next = 0;
    for (Map.Entry<String, Tensor> tensor : model.tensors.entrySet()) {
      contents.get(next % shards).put(tensor.getKey(), tensor.getValue());
      map.put(tensor.getKey(), shardName(next % shards, shards));
      next++;
    }
    for (int i = 0; i < shards; i++) {
      writeFile(contents.get(i), folder.resolve(shardName(i, shards)), type);
    }
    JsonFiles.write(folder.resolve("model.safetensors.index.json"), index);
  }

  /** A model of random weights in 64-bit floats. */
  public static void writeRandom(TransformerConfig config, Path folder) {
    Random random = new Random(3);
    Map<String, Tensor> weights = new LinkedHashMap<>();
    WeightShapes.of(config)
        .forEach(
            (name, shape) -> {
              if (!name.equals(WeightShapes.UNEMBEDDING_BIAS)) {
                int size = (int) Arrays.stream(shape).reduce(1, (a, b) -> a * b);
                double[] values = new double[size];
                Arrays.setAll(values, i -> 0.2 * random.nextGaussian());
                weights.put(name, TensorArrays.of(values, ScalarType.Double, "cpu", shape));
              }
            });
    try (Model model = Model.of(config, weights)) {
      Checkpoints.save(model, folder);
    }
  }

  static String shardName(int shard, int shards) {
    return String.format(Locale.ROOT, "model-%05d-of-%05d.safetensors", shard + 1, shards);
  }

  static void writeConfig(ObjectNode config, Path folder) {
    try {
      Files.createDirectories(folder);
      Files.writeString(folder.resolve("config.json"), config.toPrettyString());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  static void writeFile(Map<String, Tensor> tensors, Path file, SafetensorsType type) {
    SafetensorsWriter writer = new SafetensorsWriter().metadata("format", "pt");
    tensors.forEach(
        (name, tensor) -> {
          Tensor stored = tensor.to(scalarType(type)).contiguous();
          BytePointer bytes = new BytePointer(stored.data_ptr());
          ByteBuffer copy = ByteBuffer.allocate((int) stored.nbytes());
          copy.put(bytes.limit(stored.nbytes()).asByteBuffer()).flip();
          writer.add(name, type, stored.shape(), copy);
        });
    writer.write(file);
  }
}
