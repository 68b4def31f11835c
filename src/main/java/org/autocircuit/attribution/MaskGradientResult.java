package org.autocircuit.attribution;

import java.util.Objects;
import java.util.Optional;
import org.bytedeco.pytorch.Tensor;

/**
 * Holds the gradient of a loss with respect to the masks of one batch. The tensors belong to the
 * caller's innermost {@code PointerScope}; {@link #close} frees them earlier, or where there is no
 * scope.
 */
public final class MaskGradientResult implements AutoCloseable {

  private final Tensor gradient;
  private final Tensor loss;
  private final Tensor logits;
  private final Optional<Tensor> differences;

  /**
   * Holds tensors, which {@link #close} frees.
   *
   * @param gradient see {@link #gradient()}
   * @param loss see {@link #loss()}
   * @param logits see {@link #logits()}
   * @param differences see {@link #differences()}; {@code null}: none
   */
  public MaskGradientResult(Tensor gradient, Tensor loss, Tensor logits, Tensor differences) {
    this.gradient = Objects.requireNonNull(gradient, "gradient");
    this.loss = Objects.requireNonNull(loss, "loss");
    this.logits = Objects.requireNonNull(logits, "logits");
    this.differences = Optional.ofNullable(differences);
  }

  /**
   * Returns {@code [n_masks]} in the order of edge indices, or {@code [batch, n_masks]} if each
   * example has masks of its own; in the precision in which the model accumulates.
   */
  public Tensor gradient() {
    return gradient;
  }

  /** Returns the loss, without dimensions, in the same precision. */
  public Tensor loss() {
    return loss;
  }

  /**
   * Returns the logits of the last position, {@code [batch, d_vocab]}, in the model's precision; of
   * several points {@code [points, batch, d_vocab]}.
   */
  public Tensor logits() {
    return logits;
  }

  /**
   * Returns patched minus current outputs of all sources {@code [n_srcs, batch, seq, d_model]}, in
   * the model's precision; present if asked for. Those of sources that only the last position reads
   * may be 0 at others.
   */
  public Optional<Tensor> differences() {
    return differences;
  }

  /**
   * Frees all tensors of this result, which are null pointers then. Does nothing the second time.
   */
  @Override
  public void close() {
    gradient.close();
    loss.close();
    logits.close();
    differences.ifPresent(Tensor::close);
  }
}
