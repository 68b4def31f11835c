package org.autocircuit.model;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.WritableByteChannel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import org.autocircuit.NativeException;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.ModelHandle;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Weights between model folders and native memory. */
final class Checkpoints {

  private static final String UNEMBEDDING_BIAS = "unembed.b_U";
  private static final long MAX_WRITE_BYTES = 1 << 26;

  private Checkpoints() {}

  static Model load(Path folder, LoadOptions options) {
    Gpt2Checkpoint checkpoint = Gpt2Checkpoint.open(folder);
    List<TensorEntry> entries = checkpoint.weights().values().stream().distinct().toList();
    if (options.device().startsWith("cpu")) {
      requireMemory(folder, bytes(entries, options.precision()));
    }
    try (CallScope scope = new CallScope()) {
      Map<TensorEntry, Tensor> tensors = read(checkpoint.file(), entries, options);
      Map<String, Tensor> weights = new LinkedHashMap<>();
      checkpoint.weights().forEach((name, entry) -> weights.put(name, tensors.get(entry)));
      return Model.of(
          "Model " + folder.toAbsolutePath().normalize().getFileName(),
          checkpoint.config().transformer(),
          weights);
    }
  }

  static void save(Model model, Path folder) {
    if (!(model.config() instanceof TransformerConfig config)) {
      throw new IllegalArgumentException(
          "only transformers have a Hugging Face format, got " + model.config());
    }
    try (CallScope scope = new CallScope()) {
      Map<String, Tensor> weights = model.weights();
      boolean tied = model.tiedEmbedding();
      Map<String, SafetensorsWriter.TensorBytes> bytes = new LinkedHashMap<>();
      weights.forEach(
          (name, weight) -> {
            if (name.equals(UNEMBEDDING_BIAS)) {
              requireZero(weight);
            } else if (!tied || !name.equals("unembed.W_U")) {
              bytes.put(name, channel -> write(weight, channel));
            }
          });
      Gpt2Checkpoint.save(
          folder,
          new HuggingFaceConfig(config, tied, OptionalInt.empty(), OptionalInt.empty()),
          model.precision().safetensorsType(),
          bytes);
    }
  }

  private static Map<TensorEntry, Tensor> read(
      SafetensorsFile file, List<TensorEntry> entries, LoadOptions options) {
    List<Long> layout = new ArrayList<>();
    for (TensorEntry entry : entries) {
      layout.add((long) scalarType(entry.type()).value);
      layout.add(entry.begin());
      layout.add(entry.end());
      layout.add((long) entry.shape().length);
      for (long size : entry.shape()) {
        layout.add(size);
      }
    }
    List<Tensor> read;
    try {
      read =
          ModelHandle.readTensors(
              file.path().toString(),
              layout.stream().mapToLong(Long::longValue).toArray(),
              options.precision().scalarType().value,
              options.device());
    } catch (NativeException e) {
      throw new CheckpointException(
          "%s: cannot be loaded: %s".formatted(file.path(), e.getMessage()), e);
    }
    Map<TensorEntry, Tensor> tensors = new LinkedHashMap<>();
    for (int i = 0; i < read.size(); i++) {
      tensors.put(entries.get(i), read.get(i));
    }
    return tensors;
  }

  /**
   * JavaCPP counts the whole process against its limit and fails with an error that does not say
   * what to do; better to say so before a minute of loading.
   */
  static void requireMemory(Path folder, long bytes) {
    boolean active = !Boolean.getBoolean("org.bytedeco.javacpp.noPointerGC");
    long limit = Pointer.maxPhysicalBytes();
    if (!active || limit <= 0) {
      return;
    }
    long resident = Pointer.physicalBytes();
    if (resident + bytes > limit) {
      throw new IllegalStateException(
          ("%s: loading needs %,d bytes beside the %,d in use, but JavaCPP's limit for the process"
                  + " is %,d; start Java with -Dorg.bytedeco.javacpp.maxPhysicalBytes=0 to lift it")
              .formatted(folder, bytes, resident, limit));
    }
  }

  private static long bytes(List<TensorEntry> entries, Precision precision) {
    long bytes = 0;
    for (TensorEntry entry : entries) {
      bytes +=
          (entry.end() - entry.begin())
              / entry.type().bytes()
              * precision.safetensorsType().bytes();
    }
    return bytes;
  }

  private static ScalarType scalarType(SafetensorsType type) {
    return switch (type) {
      case F64 -> ScalarType.Double;
      case F32 -> ScalarType.Float;
      case F16 -> ScalarType.Half;
      case BF16 -> ScalarType.BFloat16;
      default -> throw new IllegalArgumentException("weights cannot be of type " + type);
    };
  }

  private static void requireZero(Tensor bias) {
    if (bias.count_nonzero().item_long() > 0) {
      throw new IllegalArgumentException(
          "Hugging Face's GPT-2 has no place for %s, which is not zero"
              .formatted(UNEMBEDDING_BIAS));
    }
  }

  private static void write(Tensor weight, WritableByteChannel channel) throws IOException {
    try (CallScope scope = new CallScope()) {
      Tensor plain = weight.detach().to(new Device("cpu"), weight.scalar_type()).contiguous();
      long size = plain.nbytes();
      BytePointer bytes = new BytePointer(plain.data_ptr());
      for (long begin = 0; begin < size; begin += MAX_WRITE_BYTES) {
        long end = Math.min(size, begin + MAX_WRITE_BYTES);
        ByteBuffer part = bytes.position(begin).limit(end).asByteBuffer();
        while (part.hasRemaining()) {
          channel.write(part);
        }
      }
    }
  }
}
