package org.autocircuit.patch;

import java.util.OptionalInt;
import org.autocircuit.internal.CallScope;
import org.bytedeco.pytorch.Tensor;

/**
 * One set of values that masks can have, {@code [n_masks]}, or {@code [batch, n_masks]} where each
 * example has its own. Temporaries go to the innermost scope.
 */
final class MaskLayer {

  private final Tensor values;
  private final Tensor leaf;
  private final OptionalInt examples;

  /** Keeps a tensor of the given scope, whose memory it takes over. */
  MaskLayer(Tensor values, CallScope scope) {
    Tensor trained = values.detach().set_requires_grad(true);
    this.values = scope.keep(values);
    this.leaf = scope.keep(trained);
    this.examples =
        values.dim() == 1 ? OptionalInt.empty() : OptionalInt.of(Math.toIntExact(values.size(0)));
  }

  /** Returns what passes use that are not recorded, and what values are written to. */
  Tensor values() {
    return values;
  }

  /** The same memory, but requires gradients: what recorded passes use, and where they go back. */
  Tensor leaf() {
    return leaf;
  }

  /** Number of examples that have values of their own; empty if all share one set. */
  OptionalInt examples() {
    return examples;
  }

  /** A copy of the values, for the given number of examples or as many as there are here. */
  Tensor copy(OptionalInt wanted) {
    if (wanted.isEmpty()) {
      return values.clone();
    }
    Tensor rows = examples.isEmpty() ? values.unsqueeze(0) : values;
    long repeats = (wanted.getAsInt() + rows.size(0) - 1) / rows.size(0);
    return rows.repeat(repeats, 1).narrow(0, 0, wanted.getAsInt()).contiguous();
  }

  /**
   * Returns the gradients; undefined before a backward. A handle of its own, not that of the leaf.
   */
  Tensor gradients() {
    return new Tensor(leaf.grad());
  }

  /** Replaces the gradients. */
  void setGradients(Tensor gradients) {
    leaf.mutable_grad().put(gradients);
  }

  void forgetGradients() {
    leaf.mutable_grad().reset();
  }

  void free() {
    values.releaseReference();
    leaf.releaseReference();
  }
}
