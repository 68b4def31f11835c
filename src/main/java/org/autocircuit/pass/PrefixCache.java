package org.autocircuit.pass;

import com.google.errorprone.annotations.MustBeClosed;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.autocircuit.internal.Access;
import org.autocircuit.internal.Arguments;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.NativeResource;
import org.autocircuit.patch.Use;
import org.bytedeco.pytorch.Tensor;

/**
 * Keys and values of tokens that stand before all prompts, computed once. A cache of one row serves
 * batches of every size; one of {@code b} rows serves batches of {@code b} prompts, row by row.
 * (The Python original looks its caches up by the size of the batch.)
 *
 * <pre>{@code
 * try (PrefixCache examples = model.prefixOf(fewShotTokens);
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

  static {
    Access.OfPrefixCache<PrefixCache> accessor = prefix -> prefix.entries;
    Access.register(PrefixCache.class, accessor);
  }

  /** Keys of block 0, values of block 0, keys of block 1, … */
  private final List<Tensor> entries;

  private final long[] shape;
  private final NativeResource resource;

  /** Takes the entries over. */
  private PrefixCache(List<Tensor> entries) {
    this.entries = entries;
    this.shape = entries.get(0).shape();
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

  /** Returns whether it was closed. */
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
