package org.autocircuit.attribution;

import org.bytedeco.pytorch.Tensor;

/**
 * The gradient of a loss with respect to the masks of one batch. The tensors belong to the caller's
 * innermost {@code PointerScope}; {@link #close} frees them earlier, or where there is no scope.
 *
 * @param gradient {@code [n_masks]} in the order of edge indices, or {@code [batch, n_masks]} if
 *     each example has masks of its own; in the precision in which the model accumulates
 * @param loss the loss, without dimensions, in the same precision
 * @param logits of the last position, {@code [batch, d_vocab]}, in the model's precision
 */
public record MaskGradientResult(Tensor gradient, Tensor loss, Tensor logits)
    implements AutoCloseable {

  /**
   * Frees all tensors of this result, which are null pointers then. Does nothing the second time.
   */
  @Override
  public void close() {
    gradient.close();
    loss.close();
    logits.close();
  }
}
