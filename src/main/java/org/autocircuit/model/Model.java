package org.autocircuit.model;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.autocircuit.internal.Access;
import org.autocircuit.internal.Arguments;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.Devices;
import org.autocircuit.internal.ModelHandle;
import org.bytedeco.pytorch.Tensor;

/**
 * A model: its structure and its weights, in one precision, on one device. It runs nothing by
 * itself; make a patchable model of it.
 *
 * <p><b>Weights</b> have the library's own names and layouts. Those of GPT-2's kind are listed at
 * {@link org.autocircuit.checkpoint.Gpt2Weights}. In general {@code attn.W_QKV} is {@code [d_model,
 * (n_heads + 2 * n_key_value_heads) * d_head]}, a gated MLP has {@code mlp.W_gate [d_model,
 * d_mlp]}, and norms and biases are those that the {@link TransformerConfig} says. A micro model
 * has {@code blocks.N.weights [n_heads, d_model]}. A bias {@code unembed.b_U [d_vocab]} is
 * optional. An embedding is tied if {@code unembed.W_U} is the same tensor as {@code embed.W_E}.
 * {@link #weights()} are the tensors that the model computes with, so training them in place trains
 * the model, and every patchable model made of it.
 *
 * <p><b>Ownership.</b> Close it. Patchable models made of it keep what they need. If it is closed
 * while another thread uses it, that use finishes first. A model that was forgotten is freed by the
 * garbage collector unless {@code org.bytedeco.javacpp.noPointerGC} is set.
 *
 * <p><b>Threads.</b> Safe for use by many threads, but for changes to the weights.
 *
 * <pre>{@code
 * try (Model model = Checkpoints.load(Path.of("gpt2"))) {
 *   System.out.println(model.hookNames());
 * }
 * }</pre>
 */
public final class Model implements AutoCloseable {

  static {
    Access.OfModel<Model> accessor = model -> model.handle;
    Access.register(Model.class, accessor);
  }

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

  /**
   * As {@link #of(ModelConfig, Map)}, under a name.
   *
   * @param name what the model is called in messages
   */
  public static Model of(String name, ModelConfig config, Map<String, Tensor> weights) {
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

  /** The structure. */
  public ModelConfig config() {
    return config;
  }

  /** The type of weights and activations. */
  public Precision precision() {
    return precision;
  }

  /** Returns where the weights are, under LibTorch's name. */
  public String device() {
    return device;
  }

  /** Returns whether the unembedding is the embedding itself. */
  public boolean tiedEmbedding() {
    try (CallScope scope = new CallScope()) {
      Map<String, Tensor> weights = weights();
      Tensor unembedding = weights.get(WeightShapes.UNEMBEDDING);
      return unembedding != null && unembedding.is_same(weights.get(WeightShapes.EMBEDDING));
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

  /** Returns whether the model was closed. */
  public boolean isClosed() {
    return handle.isClosed();
  }

  /** Gives the model back. Does nothing the second time. */
  @Override
  public void close() {
    handle.close();
  }

  /**
   * Memory of the weights, a tied embedding once.
   *
   * @throws IllegalStateException if the model is closed
   */
  public long bytes() {
    try (CallScope scope = new CallScope()) {
      Map<String, Tensor> weights = weights();
      long all = weights.values().stream().mapToLong(Tensor::nbytes).sum();
      return tiedEmbedding() ? all - weights.get(WeightShapes.EMBEDDING).nbytes() : all;
    }
  }

  /** Returns what the model is called in messages. */
  @Override
  public String toString() {
    return name;
  }
}
