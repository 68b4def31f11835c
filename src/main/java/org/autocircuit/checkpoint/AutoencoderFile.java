package org.autocircuit.checkpoint;

import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.model.AutoencoderConfig;
import org.bytedeco.pytorch.Tensor;

/** Safetensors files with the weights of sparse autoencoders. */
final class AutoencoderFile {

  private AutoencoderFile() {}

  /** Reads weights from a safetensors file; they go to the innermost scope. */
  static Map<String, Tensor> read(Path file, LoadOptions options) {
    Map<String, Tensor> weights = new LinkedHashMap<>();
    SafetensorsFile header = SafetensorsFile.open(file);
    if (options.device().startsWith("cpu")) {
      Checkpoints.requireMemory(file, header.length());
    }
    for (TensorEntry entry : header.entries().values()) {
      if (!AutoencoderConfig.hasWeight(entry.name()) || !entry.type().isFloatingPoint()) {
        throw new CheckpointException(
            "%s: expected weights of autoencoders in F32, F16, BF16 or F64, got %s of %s"
                .formatted(file, entry.name(), entry.type()));
      }
      weights.put(entry.name(), new WeightFiles.Stored(file, entry).read(options));
    }
    return weights;
  }

  /** Writes weights to a safetensors file, in one step. */
  static void save(Path file, Map<String, Tensor> weights, SafetensorsType type) {
    SafetensorsWriter writer = new SafetensorsWriter().metadata("format", "pt");
    weights.forEach(
        (name, weight) -> {
          StoredWeight stored = StoredWeight.same(name, name, weight.shape());
          writer.add(
              name,
              type,
              weight.shape(),
              channel -> Checkpoints.write(stored.source(), 0, weight, channel));
        });
    writer.write(file);
  }
}
