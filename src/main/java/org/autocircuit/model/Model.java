package org.autocircuit.model;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import org.autocircuit.internal.Arguments;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.Devices;
import org.autocircuit.internal.ModelHandle;
import org.autocircuit.internal.NativeResource;
import org.autocircuit.internal.jfr.LoadEvent;
import org.bytedeco.pytorch.Tensor;

/**
 * A model: its structure and its weights, in one precision, on one device. It runs nothing by
 * itself; make a patchable model of it.
 *
 * <p><b>Weights</b> have the library's own names and layouts. Those of GPT-2's kind are listed at
 * {@link Gpt2Weights}. In general {@code attn.W_QKV} is {@code [d_model, (n_heads + 2 *
 * n_key_value_heads) * d_head]}, a gated MLP has {@code mlp.W_gate [d_model, d_mlp]}, and norms and
 * biases are those that the {@link TransformerConfig} says. A micro model has {@code
 * blocks.N.weights [n_heads, d_model]}. A bias {@code unembed.b_U [d_vocab]} is optional. An
 * embedding is tied if {@code unembed.W_U} is the same tensor as {@code embed.W_E}. {@link
 * #weights()} are the tensors that the model computes with, so training them in place trains the
 * model, and every patchable model made of it.
 *
 * <p><b>Ownership.</b> Close it. Patchable models made of it keep what they need. If it is closed
 * while another thread uses it, that use finishes first. A model that was forgotten is freed by the
 * garbage collector unless {@code org.bytedeco.javacpp.noPointerGC} is set.
 *
 * <p><b>Threads.</b> Safe for use by many threads, but for changes to the weights.
 *
 * <pre>{@code
 * try (Model model = Model.load(Path.of("gpt2"))) {
 *   System.out.println(model.hookNames());
 * }
 * }</pre>
 */
public final class Model implements AutoCloseable {

  private static final Logger LOG = System.getLogger("org.autocircuit.model");

  private final String name;
  private final ModelConfig config;
  private final Precision precision;
  private final String device;
  private final ModelHandle handle;

  private Model(
      String name, ModelConfig config, Precision precision, String device, ModelHandle handle) {
    this.name = name;
    this.config = config;
    this.precision = precision;
    this.device = device;
    this.handle = handle;
  }

  /**
   * A model of the given weights, which it shares: nothing is copied, and the tensors' owner may
   * close them.
   *
   * @param config the structure
   * @param weights canonical name to weight; all of one type (fp32, fp64, bf16 or fp16) and on one
   *     device
   * @throws IllegalArgumentException naming the weight that is missing, superfluous, or has another
   *     shape, type or device than expected
   */
  public static Model of(ModelConfig config, Map<String, Tensor> weights) {
    Objects.requireNonNull(config, "config");
    return of("Model (%s layers)".formatted(config.nLayers()), config, weights);
  }

  static Model of(String name, ModelConfig config, Map<String, Tensor> weights) {
    Map<String, Tensor> checked = WeightShapes.checked(config, weights);
    Tensor any = checked.values().iterator().next();
    return new Model(
        name,
        config,
        Precision.of("weights", any),
        Arguments.deviceOf(any),
        ModelHandle.of(name, config.nativeDescription(), checked));
  }

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
   * @throws org.autocircuit.NativeException if reading fails
   * @throws IllegalStateException if JavaCPP's limit on the process's memory is below what loading
   *     needs; names the property that sets it
   */
  public static Model load(Path folder, LoadOptions options) {
    Devices.require(options.device());
    LoadEvent event = LoadEvent.begun();
    long start = System.nanoTime();
    Model model = Checkpoints.load(folder, options);
    long bytes = model.bytes();
    event.end(model.name, folder.toString(), bytes, model.precision.toString(), model.device);
    LOG.log(
        Level.INFO,
        String.format(
            Locale.ROOT,
            "loaded %s from %s in %.1f s: %,d bytes, %s, on %s",
            model.name,
            folder,
            (System.nanoTime() - start) / 1e9,
            bytes,
            model.precision,
            model.device));
    return model;
  }

  /**
   * Saves the model as a Hugging Face folder in its own precision: {@code config.json} and one
   * {@code model.safetensors}, in place of older ones when both are complete. The family is the
   * first that can describe the model; one that is structured like Mistral without windows is saved
   * as a Llama.
   *
   * @param folder made if need be
   * @throws IllegalArgumentException if no family can describe the model: a micro model, an
   *     attention-only one, or one with weights that the family has no place for and that are not
   *     zero
   * @throws CheckpointException if writing fails
   */
  public void save(Path folder) {
    try (NativeResource.Use use = handle.use()) {
      Checkpoints.save(this, folder);
    }
  }

  /**
   * This transformer with sparse autoencoders on the outputs of its MLPs, see {@link
   * AutoencoderConfig}, in place of those it may have. The weights of both are shared, nothing is
   * copied; the tensors' owner may close them, and this model, too.
   *
   * @param weights {@code blocks.N.hook_mlp_out.encode_weight} and the like for some or all blocks,
   *     of the model's precision and on its device
   * @param errorNodes whether what the autoencoders do not reconstruct are sources, too
   * @return to be closed like any other model
   * @throws IllegalArgumentException if this is no transformer with MLPs or has no such block;
   *     naming the weight that is missing, unknown, or has another shape, type or device than
   *     expected
   * @throws IllegalStateException if the model is closed
   */
  public Model withAutoencoders(Map<String, Tensor> weights, boolean errorNodes) {
    if (!(config instanceof TransformerConfig transformer)) {
      throw new IllegalArgumentException("autoencoders: expected a transformer, got " + config);
    }
    AutoencoderConfig autoencoders = AutoencoderWeights.config(weights).withErrorNodes(errorNodes);
    TransformerConfig structure = transformer.toBuilder().autoencoders(autoencoders).build();
    try (CallScope scope = new CallScope()) {
      Map<String, Tensor> all = new LinkedHashMap<>(weights());
      all.keySet().removeIf(AutoencoderWeights::contains);
      all.putAll(weights);
      String suffix = transformer.autoencoders().isEmpty() ? " with autoencoders" : "";
      return of(name + suffix, structure, all);
    }
  }

  /**
   * As {@link #withAutoencoders(Map, boolean)}, of weights in a safetensors file, converted to the
   * model's precision.
   *
   * @throws CheckpointException if the file is missing, malformed, holds anything else, or does not
   *     fit the model
   * @throws IllegalStateException if the model is closed
   */
  public Model withAutoencoders(Path file, boolean errorNodes) {
    try (NativeResource.Use use = handle.use();
        CallScope scope = new CallScope()) {
      Map<String, Tensor> weights =
          AutoencoderWeights.read(file, new LoadOptions(precision, device));
      try {
        return withAutoencoders(weights, errorNodes);
      } catch (IllegalArgumentException e) {
        throw new CheckpointException("%s: %s".formatted(file, e.getMessage()), e);
      }
    }
  }

  /**
   * Saves the weights of the model's autoencoders as a safetensors file, which {@link
   * #withAutoencoders(Path, boolean)} reads.
   *
   * @param file replaced in one step
   * @throws IllegalArgumentException if the model has no autoencoders
   * @throws CheckpointException if writing fails
   */
  public void saveAutoencoders(Path file) {
    try (CallScope scope = new CallScope()) {
      Map<String, Tensor> weights = new LinkedHashMap<>(weights());
      weights.keySet().removeIf(name -> !AutoencoderWeights.contains(name));
      if (weights.isEmpty()) {
        throw new IllegalArgumentException(this + " has no autoencoders to save");
      }
      AutoencoderWeights.save(file, weights, precision.safetensorsType());
    }
  }

  /** The structure. */
  public ModelConfig config() {
    return config;
  }

  /** The type of weights and activations. */
  public Precision precision() {
    return precision;
  }

  /** Where the weights are, under LibTorch's name. */
  public String device() {
    return device;
  }

  /** Whether the unembedding is the embedding itself. */
  public boolean tiedEmbedding() {
    try (CallScope scope = new CallScope()) {
      Map<String, Tensor> weights = weights();
      Tensor unembedding = weights.get("unembed.W_U");
      return unembedding != null && unembedding.is_same(weights.get("embed.W_E"));
    }
  }

  /**
   * The weights that the model computes with, by canonical name. The tensors share the model's
   * memory, stay valid when it is closed, and belong to the caller's innermost {@code
   * PointerScope}.
   *
   * @throws IllegalStateException if the model is closed
   */
  public Map<String, Tensor> weights() {
    return handle.weights();
  }

  /**
   * The hook points that can be read, under TransformerLens's names, in execution order.
   *
   * @throws IllegalStateException if the model is closed
   */
  public List<String> hookNames() {
    return handle.hookNames();
  }

  /**
   * The same model on another device, to be closed like any other. On the same device it shares the
   * weights.
   *
   * @param device LibTorch's name of the device
   * @throws IllegalArgumentException if there is no such device
   * @throws IllegalStateException if the model is closed
   */
  public Model to(String device) {
    Devices.require(device);
    ModelHandle moved = handle.to(name, device);
    boolean made = false;
    try (CallScope scope = new CallScope()) {
      String where = Arguments.deviceOf(moved.weights().values().iterator().next());
      Model model = new Model(name, config, precision, where, moved);
      made = true;
      return model;
    } finally {
      if (!made) {
        moved.close();
      }
    }
  }

  /** Whether the model was closed. */
  public boolean isClosed() {
    return handle.isClosed();
  }

  /** Gives the model back. Does nothing the second time. */
  @Override
  public void close() {
    handle.close();
  }

  /** Memory of the weights, a tied embedding once. */
  private long bytes() {
    try (CallScope scope = new CallScope()) {
      Map<String, Tensor> weights = weights();
      long all = weights.values().stream().mapToLong(Tensor::nbytes).sum();
      return tiedEmbedding() ? all - weights.get("embed.W_E").nbytes() : all;
    }
  }

  /** What the model is called in messages. */
  @Override
  public String toString() {
    return name;
  }

  /** For the library: the native model. */
  public ModelHandle handle() {
    return handle;
  }
}
