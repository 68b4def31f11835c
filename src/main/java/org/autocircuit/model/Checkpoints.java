package org.autocircuit.model;

import java.io.IOException;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.nio.ByteBuffer;
import java.nio.channels.WritableByteChannel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.LongSummaryStatistics;
import java.util.Map;
import java.util.OptionalInt;
import java.util.Set;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.Stop;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/** Weights between model files and native memory. */
final class Checkpoints {

  private static final Logger LOG = System.getLogger("org.autocircuit.model");

  private static final long MAX_WRITE_BYTES = 1 << 26;

  private Checkpoints() {}

  static Model load(Path path, LoadOptions options) {
    HuggingFaceCheckpoint checkpoint = HuggingFaceCheckpoint.open(path);
    try (CallScope scope = new CallScope()) {
      if (options.device().startsWith("cpu")) {
        requireMemory(path, bytes(checkpoint, options.precision()));
      }
      boolean tied = checkpoint.config().tiedEmbedding() && !hasOtherHead(checkpoint, options);
      Map<TensorSource, Tensor> made = new HashMap<>();
      Map<String, Tensor> weights = new LinkedHashMap<>();
      checkpoint
          .weights()
          .forEach(
              (weight, parts) -> {
                Stop.check();
                if (tied && weight.name().equals(WeightShapes.UNEMBEDDING)) {
                  weights.put(weight.name(), weights.get(WeightShapes.EMBEDDING));
                  return;
                }
                Tensor tensor = made.get(weight.source());
                if (tensor == null) {
                  tensor = read(weight.source(), parts, options);
                  made.put(weight.source(), tensor);
                }
                weights.put(weight.name(), tensor);
              });
      return Model.of(
          "Model " + path.toAbsolutePath().normalize().getFileName(),
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
      HuggingFaceConfig description =
          new HuggingFaceConfig(
              config, model.tiedEmbedding(), OptionalInt.empty(), OptionalInt.empty());
      requireFit(description, weights);
      HuggingFaceCheckpoint.save(
          folder,
          description,
          model.precision().safetensorsType(),
          (weight, part) ->
              channel -> write(weight.source(), part, weights.get(weight.name()), channel));
    }
  }

  /**
   * Whether a checkpoint that ties its embedding stores another unembedding, which then counts, as
   * in Hugging Face's reader. Logs a warning if so.
   */
  private static boolean hasOtherHead(HuggingFaceCheckpoint checkpoint, LoadOptions options) {
    StoredTensor embedding = checkpoint.part(WeightShapes.EMBEDDING);
    StoredTensor head = checkpoint.part(WeightShapes.UNEMBEDDING);
    if (head.name().equals(embedding.name())) {
      return false;
    }
    LoadOptions here = options.withDevice("cpu");
    try (CallScope scope = new CallScope()) {
      if (torch.equal(embedding.read(here), head.read(here))) {
        return false;
      }
    }
    LOG.log(
        Level.WARNING,
        "%s: %s differs from %s, though config.json ties them (tie_word_embeddings); it is used as it is stored"
            .formatted(head.file(), head.name(), embedding.name()));
    return true;
  }

  /** One weight; its parts are freed before the next one is read. */
  private static Tensor read(TensorSource source, List<StoredTensor> parts, LoadOptions options) {
    try (CallScope scope = new CallScope()) {
      List<Tensor> tensors = new ArrayList<>();
      for (StoredTensor part : parts) {
        tensors.add(part.read(options));
      }
      return scope.handOut(source.assemble(tensors));
    }
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
          String.format(
              Locale.ROOT,
              "%s: loading needs %,d bytes beside the %,d in use, but JavaCPP's limit for the process"
                  + " is %,d; start Java with -Dorg.bytedeco.javacpp.maxPhysicalBytes=0 to lift it",
              folder,
              bytes,
              resident,
              limit));
    }
  }

  /** All weights once, and what the largest needs while it is put together. */
  private static long bytes(HuggingFaceCheckpoint checkpoint, Precision precision) {
    LongSummaryStatistics sizes =
        checkpoint.weights().keySet().stream()
            .map(StoredWeight::source)
            .distinct()
            .mapToLong(TensorSource::size)
            .summaryStatistics();
    return (sizes.getSum() + sizes.getMax()) * precision.safetensorsType().bytes();
  }

  /** What the family has no place for may be left out only where it changes nothing. */
  private static void requireFit(HuggingFaceConfig config, Map<String, Tensor> weights) {
    List<StoredWeight> stored =
        config.family().weights(config.transformer(), config.tiedEmbedding());
    Set<String> superfluous = new LinkedHashSet<>(weights.keySet());
    Map<TensorSource, Tensor> shared = new HashMap<>();
    for (StoredWeight weight : stored) {
      Tensor tensor = weights.get(weight.name());
      if (tensor == null) {
        throw new IllegalArgumentException(
            "weight %s is missing, which Hugging Face's %s has"
                .formatted(weight.name(), config.modelType()));
      }
      superfluous.remove(weight.name());
      Tensor other = shared.putIfAbsent(weight.source(), tensor);
      if (other != null && !torch.equal(tensor, other)) {
        throw new IllegalArgumentException(
            "weight %s is not the same as another that Hugging Face's %s shares with it"
                .formatted(weight.name(), config.modelType()));
      }
    }
    for (String name : superfluous) {
      if (weights.get(name).count_nonzero().item_long() > 0) {
        throw new IllegalArgumentException(
            "Hugging Face's %s has no place for %s, which is not zero"
                .formatted(config.modelType(), name));
      }
    }
  }

  /** Writes the tensor of a file that is one part of a weight. */
  static void write(TensorSource source, int part, Tensor weight, WritableByteChannel channel)
      throws IOException {
    try (CallScope scope = new CallScope()) {
      Tensor plain = source.take(weight.detach().to(new Device("cpu"), weight.scalar_type()), part);
      long size = plain.nbytes();
      BytePointer bytes = new BytePointer(plain.data_ptr());
      for (long begin = 0; begin < size; begin += MAX_WRITE_BYTES) {
        long end = Math.min(size, begin + MAX_WRITE_BYTES);
        ByteBuffer content = bytes.position(begin).limit(end).asByteBuffer();
        while (content.hasRemaining()) {
          channel.write(content);
        }
      }
    }
  }
}
