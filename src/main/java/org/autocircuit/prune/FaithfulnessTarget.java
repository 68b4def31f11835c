package org.autocircuit.prune;

import java.util.Optional;
import org.autocircuit.internal.NativeCodes;
import org.autocircuit.internal.NativeMath;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/**
 * Says how far the outputs of a patched model are from the full model's on the same prompts. Every
 * prompt counts once: where the model puts out several positions, a prompt has the mean over those
 * of its own tokens, without padding.
 */
public enum FaithfulnessTarget {
  /**
   * The Kullback–Leibler divergence {@code KL(full model ‖ patched)} of the next-token
   * distributions, in nats.
   */
  KL_DIV {
    /** The probabilities, and behind them the sum of each times its logarithm. */
    @Override
    Tensor target(Tensor logits) {
      Tensor logarithms = torch.log_softmax(logits, -1);
      Tensor p = logarithms.exp();
      Tensor sum = p.mul(logarithms).sum(new long[] {-1}, true, new ScalarTypeOptional());
      return torch.cat(new TensorVector(p, sum), -1);
    }

    /**
     * The slope of the divergence with the patched logits is the difference of the two
     * distributions, whose sum of absolute values is at most {@code sqrt(2 divergence)} (Pinsker).
     */
    @Override
    double error(double divergence, double logitError) {
      return logitError * (Math.sqrt(2 * Math.max(divergence, 0)) + logitError);
    }

    @Override
    public String unit() {
      return "nats";
    }
  },
  /** The squared difference of the logits, averaged over the vocabulary. */
  MSE {
    @Override
    Tensor target(Tensor logits) {
      return logits;
    }

    @Override
    double error(double divergence, double logitError) {
      return logitError * (2 * Math.sqrt(divergence) + logitError);
    }

    @Override
    public String unit() {
      return "squared logits";
    }
  };

  /**
   * Returns what {@link #divergence} needs of the full model's logits {@code [batch, ...,
   * d_vocab]}.
   */
  abstract Tensor target(Tensor logits);

  /**
   * The divergence of a run; differentiable.
   *
   * @param logits {@code [batch, d_vocab]} or {@code [batch, positions, d_vocab]}
   * @param target from {@link #target}, of the same type
   * @param attentionMask {@code [batch, seq]}, 0 for padding
   * @return without dimensions
   */
  final Tensor divergence(Tensor logits, Tensor target, Optional<Tensor> attentionMask) {
    return NativeMath.divergence(NativeCodes.of(this), logits, target, attentionMask.orElse(null));
  }

  /** Returns what the divergence is a number of, in the plural. */
  public abstract String unit();

  /** By how much a divergence can change if no patched logit changes by more than an error. */
  abstract double error(double divergence, double logitError);
}
