package org.autocircuit.pass;

import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import org.bytedeco.pytorch.Tensor;

/**
 * Holds what a forward pass returns. The tensors belong to the caller's innermost {@code
 * PointerScope}; {@link #close} frees them earlier, or where there is no scope.
 */
public final class ForwardResult implements AutoCloseable {

  private final Tensor logits;
  private final Optional<Tensor> sourceOutputs;
  private final Map<String, Tensor> reads;

  /**
   * Holds tensors, which {@link #close} frees.
   *
   * @param logits see {@link #logits()}
   * @param sourceOutputs see {@link #sourceOutputs()}; {@code null}: none
   * @param reads see {@link #reads()}; not copied
   */
  public ForwardResult(Tensor logits, Tensor sourceOutputs, Map<String, Tensor> reads) {
    this.logits = Objects.requireNonNull(logits, "logits");
    this.sourceOutputs = Optional.ofNullable(sourceOutputs);
    this.reads = Objects.requireNonNull(reads, "reads");
  }

  /** Returns the logits of the output slice; of a micro model the last residual stream. */
  public Tensor logits() {
    return logits;
  }

  /**
   * Returns the outputs that sources had in this pass {@code [n_srcs, batch, seq, d_model]},
   * detached; present if asked for.
   */
  public Optional<Tensor> sourceOutputs() {
    return sourceOutputs;
  }

  /** Returns activations by hook name, of the hook points asked for, in that order. */
  public Map<String, Tensor> reads() {
    return reads;
  }

  /**
   * The activation at a hook point.
   *
   * @throws IllegalArgumentException if it was not asked for
   */
  public Tensor read(String hookName) {
    Tensor read = reads.get(hookName);
    if (read == null) {
      throw new IllegalArgumentException(
          "%s was not read, only %s".formatted(hookName, reads.keySet()));
    }
    return read;
  }

  /**
   * Frees all tensors of this result, which are null pointers then. Does nothing the second time.
   */
  @Override
  public void close() {
    logits.close();
    sourceOutputs.ifPresent(Tensor::close);
    reads.values().forEach(Tensor::close);
  }
}
