package org.autocircuit.internal.run;

import java.util.Optional;
import org.autocircuit.internal.CallScope;
import org.autocircuit.model.Precision;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/**
 * The mean over all prompts of source outputs {@code [n_srcs, batch, seq, d_model]}, batchwise.
 * Padding does not count. The sum has the precision in which the model accumulates, the mean that
 * of the model.
 */
final class DataSetMean implements AutoCloseable {

  private final Precision precision;
  private Tensor sum;
  private Tensor prompts;

  DataSetMean(Precision precision) {
    this.precision = precision;
  }

  /** Adds the prompts of a batch; the mask {@code [batch, seq]} is 0 at padding. */
  void add(Tensor sourceOutputs, Optional<Tensor> attentionMask) {
    try (CallScope scope = new CallScope()) {
      ScalarTypeOptional type = new ScalarTypeOptional(precision.accumulation().scalarType());
      Tensor outputs = sourceOutputs;
      // [batch, seq, 1] of 1 where a token is
      Tensor present = sourceOutputs.select(0, 0).narrow(-1, 0, 1);
      if (attentionMask.isPresent()) {
        present = attentionMask.get().unsqueeze(-1).to(present.scalar_type());
        outputs = sourceOutputs.mul(present);
      } else {
        present = torch.ones_like(present);
      }
      Tensor batch = outputs.sum(new long[] {1}, true, type);
      Tensor count = present.sum(new long[] {0}, false, type);
      if (sum == null) {
        sum = scope.keep(batch);
        prompts = scope.keep(count);
      } else if (sum.size(2) == batch.size(2)) {
        sum.add_(batch);
        prompts.add_(count);
      } else {
        throw new IllegalArgumentException(
            "batches: expected prompts of %s tokens as in the first batch, got %s"
                .formatted(sum.size(2), batch.size(2)));
      }
    }
  }

  /**
   * The mean {@code [n_srcs, 1, seq, d_model]}, which goes to the innermost scope; 0 at positions
   * where all prompts have padding.
   *
   * @throws org.autocircuit.exception.NotFiniteException if a number in it is NaN or infinite: one
   *     prompt is enough
   */
  Tensor mean() {
    if (sum == null) {
      throw new IllegalArgumentException("batches: expected at least one, got none");
    }
    Tensor mean = sum.div(prompts.clamp_min(new Scalar(1))).to(precision.scalarType());
    precision.requireFinite("mean activations", mean);
    return mean;
  }

  @Override
  public void close() {
    if (sum != null) {
      sum.releaseReference();
      prompts.releaseReference();
    }
  }
}
