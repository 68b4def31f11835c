package org.autocircuit;

import com.google.errorprone.annotations.MustBeClosed;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.autocircuit.internal.Arguments;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.NativeResource;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.ModelConfig;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.patch.OutputSlice;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.Use;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Keys and values of tokens that stand before all prompts, computed once. A cache of one row serves
 * batches of every size; one of {@code b} rows serves batches of {@code b} prompts, row by row.
 * (The Python original looks its caches up by the size of the batch.)
 *
 * <pre>{@code
 * try (PrefixCache examples = PrefixCache.of(model, fewShotTokens);
 *     PatchableModel after = model.withPrefix(examples)) {
 *   PruneScores scores = MaskGradient.builder().build().pruneScores(after, batches);
 * }
 * }</pre>
 *
 * <p>Frozen: no patch and no gradient reaches it. Immutable, and safe to share between threads,
 * models of the same structure, and requests. Close it when it is not needed any more: passes that
 * run with it finish, and later ones throw an {@link IllegalStateException}.
 */
public final class PrefixCache implements AutoCloseable {

  private static final String NAME = "PrefixCache";
  private static final String SHAPE = "[1 or batch, prefix, key/value heads, d_head]";

  /** Keys of block 0, values of block 0, keys of block 1, … */
  private final List<Tensor> entries;

  private final long[] shape;
  private final ScalarType type;
  private final String device;
  private final NativeResource resource;

  /** Takes the entries over. */
  private PrefixCache(List<Tensor> entries) {
    this.entries = entries;
    this.shape = entries.get(0).shape();
    this.type = entries.get(0).scalar_type().intern();
    this.device = Arguments.deviceOf(entries.get(0));
    this.resource =
        new NativeResource(NAME, () -> entries.forEach(entry -> entry.releaseReference()));
  }

  /**
   * Keys and values of one's own, block by block. The tensors are shared, not copied; their owner
   * may close them, but must not change their values.
   *
   * @param keys before any rotation by position, {@code [1 or batch, prefix, key/value heads,
   *     d_head]}
   * @param values of the same shape
   * @throws IllegalArgumentException if there are not as many values as keys and at least one of
   *     each, or they differ in shape, type or device
   */
  public static PrefixCache of(List<Tensor> keys, List<Tensor> values) {
    if (keys.isEmpty() || keys.size() != values.size()) {
      throw new IllegalArgumentException(
          "prefix: expected keys and values of each block, got %s and %s"
              .formatted(keys.size(), values.size()));
    }
    try (CallScope scope = new CallScope()) {
      List<Tensor> entries = new ArrayList<>();
      for (int block = 0; block < keys.size(); block++) {
        entries.add(entry("keys of block " + block, keys.get(block), entries));
        entries.add(entry("values of block " + block, values.get(block), entries));
      }
      entries.forEach(scope::keep);
      return new PrefixCache(entries);
    }
  }

  /**
   * Keys and values of a plain pass over a prefix. If the model has a prefix itself, the cache
   * holds both, its own first.
   *
   * @param tokens {@code [1 or batch, prefix]}
   * @throws IllegalArgumentException if the model is none with attention, or the tokens do not fit
   */
  public static PrefixCache of(PatchableModel model, Tensor tokens) {
    if (!(model.graph().config() instanceof TransformerConfig config)) {
      throw new IllegalArgumentException(
          "model: expected one with attention, got one of " + model.graph().config());
    }
    List<String> hooks = new ArrayList<>();
    for (int block = 0; block < config.nLayers(); block++) {
      hooks.add("blocks." + block + ".attn.hook_k");
      hooks.add("blocks." + block + ".attn.hook_v");
    }
    try (Use use = model.use();
        CallScope scope = new CallScope()) {
      ForwardResult result =
          model.forward(
              ForwardRequest.of(tokens)
                  .withContext(PatchContext.NONE)
                  .withGrad(false)
                  .withOutputSlice(OutputSlice.LAST_SEQ)
                  .withReads(hooks));
      List<Tensor> entries = hooks.stream().map(result::read).toList();
      if (model.prefix().isPresent()) {
        entries = behind(model.prefix().get(), entries);
      }
      return of(everySecond(entries, 0), everySecond(entries, 1));
    }
  }

  /** As {@link #of(PatchableModel, Tensor)}, of tokens {@code [1 or batch][prefix]}. */
  public static PrefixCache of(PatchableModel model, long[][] tokens) {
    try (CallScope scope = new CallScope()) {
      return of(model, TensorArrays.of(tokens, "tokens", model.device()));
    }
  }

  /** Rows; 1: the prefix is the same for all prompts. */
  public int batch() {
    return Math.toIntExact(shape[0]);
  }

  /** Tokens of the prefix. */
  public int length() {
    return Math.toIntExact(shape[1]);
  }

  /**
   * The keys of each block, before any rotation by position. The memory is shared, the tensors
   * belong to the caller's innermost {@code PointerScope}; do not write.
   *
   * @throws IllegalStateException if closed
   */
  public List<Tensor> keys() {
    return everySecond(0);
  }

  /** The values of each block; see {@link #keys}. */
  public List<Tensor> values() {
    return everySecond(1);
  }

  /**
   * Keeps this prefix open for this thread, for work of several calls.
   *
   * @return to be closed on this thread
   * @throws IllegalStateException if closed
   */
  @MustBeClosed
  public Use use() {
    return resource.use()::close;
  }

  /** Whether it was closed. */
  public boolean isClosed() {
    return resource.isClosed();
  }

  /** Gives the memory back. Does nothing the second time. */
  @Override
  public void close() {
    resource.close();
  }

  /** The number of tokens. */
  @Override
  public String toString() {
    return "%s of %s tokens".formatted(NAME, length());
  }

  /** Keys and values in turn, block by block, for native code; they go to the innermost scope. */
  List<Tensor> entries() {
    try (NativeResource.Use use = resource.use();
        CallScope scope = new CallScope()) {
      return scope.handOutAll(entries.stream().map(Tensor::new).toList());
    }
  }

  /** Refuses a prefix of another kind of model. */
  void requireFits(ModelConfig config, Precision modelPrecision, String modelDevice) {
    if (!(config instanceof TransformerConfig transformer)) {
      throw new IllegalArgumentException(
          "prefix: expected none, since a model of %s has no attention".formatted(config));
    }
    if (shape[2] != transformer.nKeyValueHeads()
        || shape[3] != transformer.dHead()
        || entries.size() != 2 * transformer.nLayers()
        || type != modelPrecision.scalarType()
        || !device.equals(modelDevice)) {
      throw new IllegalArgumentException(
          ("prefix: expected %s = [any, any, %s, %s] of %s on %s in %s blocks, got %s of %s on %s in"
                  + " %s")
              .formatted(
                  SHAPE,
                  transformer.nKeyValueHeads(),
                  transformer.dHead(),
                  modelPrecision.scalarType(),
                  modelDevice,
                  transformer.nLayers(),
                  Arrays.toString(shape),
                  type,
                  device,
                  entries.size() / 2));
    }
  }

  /** Refuses a batch of another size than the cache's own. */
  void requireServes(long batch) {
    if (batch() != 1 && batch() != batch) {
      throw new IllegalArgumentException(
          "prefix: expected one row for all prompts or one for each of %s, got %s rows"
              .formatted(batch, batch()));
    }
  }

  /** One entry without its gradient, checked to be like the first. */
  private static Tensor entry(String name, Tensor tensor, List<Tensor> entries) {
    Arguments.live(name, tensor);
    if (entries.isEmpty()) {
      long any = Arguments.ANY;
      Arguments.shape(name, tensor, SHAPE, any, any, any, any);
      if (tensor.numel() == 0) {
        throw new IllegalArgumentException(
            "%s: expected at least one row and one token, got %s"
                .formatted(name, Arrays.toString(tensor.shape())));
      }
    } else {
      Tensor first = entries.get(0);
      Arguments.shape(name, tensor, SHAPE, first.shape());
      Arguments.type(name, tensor, first.scalar_type().intern());
      Arguments.device(name, tensor, Arguments.deviceOf(first));
    }
    return tensor.detach();
  }

  private static List<Tensor> behind(PrefixCache before, List<Tensor> entries) {
    List<Tensor> firsts = before.entries();
    List<Tensor> both = new ArrayList<>();
    for (int i = 0; i < entries.size(); i++) {
      long[] rows = firsts.get(i).shape();
      rows[0] = entries.get(i).size(0);
      both.add(torch.cat(new TensorVector(firsts.get(i).expand(rows), entries.get(i)), 1));
    }
    return both;
  }

  private List<Tensor> everySecond(int start) {
    try (NativeResource.Use use = resource.use();
        CallScope scope = new CallScope()) {
      return scope.handOutAll(everySecond(entries, start).stream().map(Tensor::new).toList());
    }
  }

  private static List<Tensor> everySecond(List<Tensor> entries, int start) {
    List<Tensor> picked = new ArrayList<>();
    for (int i = start; i < entries.size(); i += 2) {
      picked.add(entries.get(i));
    }
    return picked;
  }
}
