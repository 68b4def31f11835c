package org.autocircuit.checkpoint;

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
import java.util.Set;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.internal.Access;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.Devices;
import org.autocircuit.internal.NativeResource;
import org.autocircuit.internal.Stop;
import org.autocircuit.internal.jfr.LoadEvent;
import org.autocircuit.model.AutoencoderConfig;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.model.WeightShapes;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/** Loads and saves models. Safe for use by many threads. */
public final class Checkpoints {

  private static final Logger LOG = System.getLogger("org.autocircuit.model");

  private static final Access.OfModel<Model> MODELS = Access.model(Model.class);

  private static final long MAX_WRITE_BYTES = 1 << 26;

  private Checkpoints() {}

  /**
   * Loads a Hugging Face folder or a GGUF file in 32-bit floats on the CPU.
   *
   * @param folder holds {@code config.json} and the weights; or a GGUF file
   * @throws CheckpointException if a file is missing, malformed, unsupported or truncated
   * @see #load(Path, LoadOptions)
   */
  public static Model load(Path folder) {
    return load(folder, LoadOptions.DEFAULT);
  }

  /**
   * Loads a Hugging Face folder of one of the families of {@link HuggingFaceConfig}, or a GGUF
   * file. A folder's weights are in {@code model.safetensors}, or in the files that {@code
   * model.safetensors.index.json} lists, as fp64, fp32, fp16 or bf16. Each is read, converted and
   * brought into the library's layout (linear layers are stored the other way round, queries, keys
   * and values apart) before the next, so the peak is about the size of the weights once and of the
   * largest of them. Where {@code config.json} ties the unembedding to the embedding and the
   * weights hold another one, that is used, and a warning is logged.
   *
   * <p>A path that is a file is read as GGUF: one file of a model of Llama's kind ({@code
   * general.architecture} llama, qwen2 or qwen3) whose tensors are F64, F32, F16, BF16 or Q8_0. It
   * gives the model that the file describes, which is that of the Hugging Face folder it was made
   * from as far as llama.cpp's converter keeps it: the order of rows that it gave to Llama's
   * queries and keys is undone, but the windows of Mistral and Qwen, which it drops, are lost, so
   * positions beyond a window's width give other logits than the folder's. The tokenizer inside the
   * file is not read; load {@code tokenizer.json} of that folder.
   *
   * @param folder holds {@code config.json} and the weights; or a GGUF file
   * @param options precision and device
   * @throws CheckpointException if a file is missing, malformed, unsupported or truncated; names
   *     the file, the key or tensor, and what was met
   * @throws IllegalArgumentException if there is no such device; nothing was read then
   * @throws org.autocircuit.exception.NativeException if reading fails
   * @throws IllegalStateException if JavaCPP's limit on the process's memory is below what loading
   *     needs; names the property that sets it
   */
  public static Model load(Path folder, LoadOptions options) {
    Devices.require(options.device());
    LoadEvent event = LoadEvent.begun();
    long start = System.nanoTime();
    Model model = read(folder, options);
    long bytes = model.bytes();
    String precision = model.precision().toString();
    event.end(model.toString(), folder.toString(), bytes, precision, model.device());
    LOG.log(
        Level.INFO,
        String.format(
            Locale.ROOT,
            "loaded %s from %s in %.1f s: %,d bytes, %s, on %s",
            model,
            folder,
            (System.nanoTime() - start) / 1e9,
            bytes,
            precision,
            model.device()));
    return model;
  }

  /**
   * Saves a model as a Hugging Face folder in its own precision: {@code config.json} and one {@code
   * model.safetensors}, in place of older ones when both are complete. The family is the first that
   * can describe the model; one that is structured like Mistral without windows is saved as a
   * Llama.
   *
   * @param folder made if need be
   * @throws IllegalStateException if the model is closed
   * @throws IllegalArgumentException if no family can describe the model: a micro model, an
   *     attention-only one, or one with weights that the family has no place for and that are not
   *     zero
   * @throws CheckpointException if writing fails
   */
  public static void save(Model model, Path folder) {
    try (NativeResource.Use use = MODELS.handle(model).use()) {
      write(model, folder);
    }
  }

  /**
   * As {@link Model#withAutoencoders(Map, boolean)}, of weights in a safetensors file, converted to
   * the model's precision.
   *
   * @throws CheckpointException if the file is missing, malformed, holds anything else, or does not
   *     fit the model
   * @throws IllegalStateException if the model is closed
   */
  public static Model withAutoencoders(Model model, Path file, boolean errorNodes) {
    try (NativeResource.Use use = MODELS.handle(model).use();
        CallScope scope = new CallScope()) {
      Map<String, Tensor> weights =
          AutoencoderFile.read(
              file,
              LoadOptions.DEFAULT.withPrecision(model.precision()).withDevice(model.device()));
      try {
        return model.withAutoencoders(weights, errorNodes);
      } catch (IllegalArgumentException e) {
        throw new CheckpointException("%s: %s".formatted(file, e.getMessage()), e);
      }
    }
  }

  /**
   * Saves the weights of a model's autoencoders as a safetensors file, which {@link
   * #withAutoencoders(Model, Path, boolean)} reads.
   *
   * @param file replaced in one step
   * @throws IllegalArgumentException if the model has no autoencoders
   * @throws CheckpointException if writing fails
   */
  public static void saveAutoencoders(Model model, Path file) {
    try (CallScope scope = new CallScope()) {
      Map<String, Tensor> weights = new LinkedHashMap<>(model.weights());
      weights.keySet().removeIf(name -> !AutoencoderConfig.hasWeight(name));
      if (weights.isEmpty()) {
        throw new IllegalArgumentException(model + " has no autoencoders to save");
      }
      AutoencoderFile.save(file, weights, SafetensorsType.of(model.precision()));
    }
  }

  private static Model read(Path path, LoadOptions options) {
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

  private static void write(Model model, Path folder) {
    if (!(model.config() instanceof TransformerConfig config)) {
      throw new IllegalArgumentException(
          "only transformers have a Hugging Face format, got " + model.config());
    }
    try (CallScope scope = new CallScope()) {
      Map<String, Tensor> weights = model.weights();
      HuggingFaceConfig description =
          HuggingFaceConfig.of(config).withTiedEmbedding(model.tiedEmbedding());
      requireFit(description, weights);
      HuggingFaceCheckpoint.save(
          folder,
          description,
          SafetensorsType.of(model.precision()),
          (weight, part) ->
              channel -> write(weight.source(), part, weights.get(weight.name()), channel));
    }
  }

  /**
   * Returns whether a checkpoint that ties its embedding stores another unembedding, which then
   * counts, as in Hugging Face's reader. Logs a warning if so.
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
    return (sizes.getSum() + sizes.getMax()) * SafetensorsType.of(precision).bytes();
  }

  /** Refuses weights that the family has no place for, unless they change nothing. */
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
