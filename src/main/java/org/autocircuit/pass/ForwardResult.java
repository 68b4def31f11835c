package org.autocircuit.pass;

import java.util.Map;
import java.util.Optional;
import org.bytedeco.pytorch.Tensor;

/**
 * Holds what a forward pass returns. The tensors belong to the caller's innermost {@code
 * PointerScope}; {@link #close} frees them earlier, or where there is no scope.
 *
 * @param logits those of the output slice; a micro model's last residual stream
 * @param sourceOutputs the outputs that sources had in this pass {@code [n_srcs, batch, seq,
 *     d_model]}, detached; present if asked for
 * @param reads hook name to activation, for the hook points asked for, in that order
 */
public record ForwardResult(
    Tensor logits, Optional<Tensor> sourceOutputs, Map<String, Tensor> reads)
    implements AutoCloseable {

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
