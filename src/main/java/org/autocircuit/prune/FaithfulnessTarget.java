package org.autocircuit.prune;

import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/** How far the outputs of a patched model are from the full model's on the same prompts. */
public enum FaithfulnessTarget {
  /**
   * The Kullback–Leibler divergence {@code KL(full model ‖ patched)} of the next-token
   * distributions, in nats, averaged over prompts and positions.
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

    /** Sum of p log p, less that of p times the logits, plus the logarithm of their sum of exp. */
    @Override
    Tensor divergence(Tensor logits, Tensor target) {
      long dVocab = logits.size(-1);
      Tensor agreement = target.narrow(-1, 0, dVocab).mul(logits).sum(-1);
      Tensor gap = target.select(-1, dVocab).sub(agreement);
      return gap.add(logits.logsumexp(new long[] {-1}, false)).mean();
    }

    /**
     * The slope of the divergence with the patched logits is the difference of the two
     * distributions, whose sum of absolute values is at most {@code sqrt(2 divergence)} (Pinsker).
     */
    @Override
    double error(double divergence, double logitError) {
      return logitError * (Math.sqrt(2 * Math.max(divergence, 0)) + logitError);
    }
  },
  /** The mean squared difference of the logits, over prompts, positions and vocabulary. */
  MSE {
    @Override
    Tensor target(Tensor logits) {
      return logits;
    }

    @Override
    Tensor divergence(Tensor logits, Tensor target) {
      return logits.sub(target).square().mean();
    }

    @Override
    double error(double divergence, double logitError) {
      return logitError * (2 * Math.sqrt(divergence) + logitError);
    }
  };

  /** What {@link #divergence} needs of the full model's logits {@code [batch, ..., d_vocab]}. */
  abstract Tensor target(Tensor logits);

  /**
   * The divergence of a run; differentiable.
   *
   * @param logits {@code [batch, ..., d_vocab]}
   * @param target from {@link #target}, of the same type
   * @return without dimensions
   */
  abstract Tensor divergence(Tensor logits, Tensor target);

  /** By how much a divergence can change if no patched logit changes by more than an error. */
  abstract double error(double divergence, double logitError);
}
