package org.autocircuit;

import org.autocircuit.internal.CallScope;
import org.autocircuit.model.Precision;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;

/**
 * The mean over all prompts of source outputs {@code [n_srcs, batch, seq, d_model]}, batchwise. The
 * sum has the precision in which the model accumulates, the mean that of the model.
 */
final class DataSetMean implements AutoCloseable {

  private final Precision precision;
  private Tensor sum;
  private long rows;

  DataSetMean(Precision precision) {
    this.precision = precision;
  }

  /** Adds the prompts of a batch. */
  void add(Tensor sourceOutputs) {
    try (CallScope scope = new CallScope()) {
      ScalarTypeOptional type = new ScalarTypeOptional(precision.accumulation().scalarType());
      Tensor batch = sourceOutputs.sum(new long[] {1}, true, type);
      if (sum == null) {
        sum = scope.keep(batch);
      } else if (sum.size(2) == batch.size(2)) {
        sum.add_(batch);
      } else {
        throw new IllegalArgumentException(
            "batches: expected prompts of %d tokens as in the first batch, got %d"
                .formatted(sum.size(2), batch.size(2)));
      }
      rows += sourceOutputs.size(1);
    }
  }

  /** The mean {@code [n_srcs, 1, seq, d_model]}, which goes to the innermost scope. */
  Tensor mean() {
    if (sum == null) {
      throw new IllegalArgumentException("batches: expected at least one, got none");
    }
    return sum.div(new Scalar((double) rows)).to(precision.scalarType());
  }

  @Override
  public void close() {
    if (sum != null) {
      sum.releaseReference();
    }
  }
}
