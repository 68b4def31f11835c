package org.autocircuit.model;

import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.autocircuit.internal.Arguments;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.ModelHandle;
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
   * @param weights canonical name to weight; all of one floating-point type (fp32 or fp64) and on
   *     one device
   * @throws IllegalArgumentException naming the weight that is missing, superfluous, or has another
   *     shape, type or device than expected
   */
  public static Model of(ModelConfig config, Map<String, Tensor> weights) {
    Objects.requireNonNull(config, "config");
    return of("Model (%d layers)".formatted(config.nLayers()), config, weights);
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
   * file. A folder's weights
   * are in {@code model.safetensors}, or in the files that {@code model.safetensors.index.json}
   * lists, as fp64, fp32, fp16 or bf16. Each is read, converted and brought into the library's
   * layout (linear layers are stored the other way round, queries, keys and values apart) before
   * the next, so the peak is about the size of the weights once and of the largest of them.
   *
   * <p>A path that is a file is read as GGUF: one file of a model of Llama's kind ({@code
   * general.architecture} llama, qwen2 or qwen3) whose tensors are F64, F32, F16, BF16 or Q8_0. It
   * gives the model that the Hugging Face folder gives which llama.cpp's converter made it from:
   * the order of rows that it gave to Llama's queries and keys is undone. The tokenizer inside the
   * file is not read; load {@code tokenizer.json} of that folder.
   *
   * @param folder holds {@code config.json} and the weights; or a GGUF file
   * @param options precision and device
   * @throws CheckpointException if a file is missing, malformed, unsupported or truncated; names
   *     the file, the key or tensor, and what was met
   * @throws org.autocircuit.NativeException if there is no such device, or reading fails
   * @throws IllegalStateException if JavaCPP's limit on the process's memory is below what loading
   *     needs; names the property that sets it
   */
  public static Model load(Path folder, LoadOptions options) {
    return Checkpoints.load(folder, options);
  }

  /**
   * Saves the model as a Hugging Face folder in its own precision: {@code config.json} and one
   * {@code model.safetensors}, each replaced in one step. The family is the first that can describe
   * the model; one that is structured like Mistral without windows is saved as a Llama.
   *
   * @param folder made if need be
   * @throws IllegalArgumentException if no family can describe the model: a micro model, an
   *     attention-only one, or one with weights that the family has no place for and that are not
   *     zero
   * @throws CheckpointException if writing fails
   */
  public void save(Path folder) {
    Checkpoints.save(this, folder);
  }

  /** The structure. */
  public ModelConfig config() {
    return config;
  }

  /** The type of weights, activations and masks. */
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
   * @throws org.autocircuit.NativeException if there is no such device
   * @throws IllegalStateException if the model is closed
   */
  public Model to(String device) {
    ModelHandle moved = handle.to(name, Objects.requireNonNull(device, "device"));
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
