package org.autocircuit.prune;

import org.autocircuit.internal.Arguments;
import org.autocircuit.internal.TensorArrays;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/**
 * Compares the difference of right and wrong answers of a patched model with the full model's on
 * the same prompts; the Python original's {@code logit_diff_percent}.
 */
final class AnswerShares {

  private AnswerShares() {}

  /**
   * Returns what turns logits into their share of the full model's difference: for each prompt the
   * weights of its answers, positive for right ones, divided by the full model's difference.
   *
   * @param logits of the full model, {@code [batch, d_vocab]}
   * @return {@code [batch, d_vocab]}
   * @throws IllegalArgumentException if the logits have positions, of which answers have none
   */
  static Tensor target(Tensor logits, long[][] answers, long[][] wrongAnswers) {
    if (logits.dim() != 2) {
      throw new IllegalArgumentException(
          "shares of a logit difference: expected a model that puts out the last position only");
    }
    Tensor weights = weights("answers", answers, logits);
    weights = weights.sub(weights("wrong answers", wrongAnswers, logits));
    return weights.div(weights.mul(logits).sum(-1).unsqueeze(-1));
  }

  private static Tensor weights(String name, long[][] answers, Tensor like) {
    Tensor tokens = TensorArrays.of(answers, name, Arguments.deviceOf(like));
    Tensor present = tokens.ge(new Scalar(0)).to(like.scalar_type());
    Tensor mean = present.div(present.sum(-1).unsqueeze(-1));
    return torch.zeros_like(like).scatter_add(1, tokens.clamp_min(new Scalar(0)), mean);
  }

  /**
   * The distance of shares to the whole difference, in per cent of it: the mean over prompts of the
   * absolute value; differentiable, without dimensions.
   */
  static Tensor distance(Tensor logits, Tensor target) {
    Tensor shares = logits.mul(target).sum(-1);
    return shares.sub(new Scalar(1)).abs().mean().mul(new Scalar(100));
  }
}
