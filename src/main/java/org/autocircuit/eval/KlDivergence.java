package org.autocircuit.eval;

import java.util.List;

/**
 * The Kullback–Leibler divergence between the next-token distributions of two models, in nats:
 * {@code KL(target ‖ outputs)}, averaged over the positions of each prompt and then over prompts,
 * so that every prompt counts once. With the full model as target it says how much of the full
 * model a circuit loses; the original's {@code measure_kl_div}.
 */
public final class KlDivergence {

  private KlDivergence() {}

  /**
   * The mean divergence over prompts; the original's {@code multibatch_kl_div}.
   *
   * @param outputs for instance of a circuit
   * @param target for instance of the full model
   * @return at least 0, where rounding would give a little less; NaN if a logit is NaN or infinite
   * @throws IllegalArgumentException if the shapes differ
   */
  public static double mean(Logits outputs, Logits target) {
    return mean(List.of(outputs), List.of(target));
  }

  /**
   * The mean divergence over the prompts of all batches.
   *
   * @throws IllegalArgumentException if the numbers of batches or their shapes differ
   */
  public static double mean(List<Logits> outputs, List<Logits> target) {
    if (outputs.size() != target.size() || outputs.isEmpty()) {
      throw new IllegalArgumentException(
          "expected outputs and target of equally many batches, got %s and %s"
              .formatted(outputs.size(), target.size()));
    }
    double sum = 0;
    long prompts = 0;
    for (int batch = 0; batch < outputs.size(); batch++) {
      sum += sum(outputs.get(batch), target.get(batch));
      prompts += outputs.get(batch).batch();
    }
    return Math.max(sum / prompts, 0);
  }

  /** The sum over prompts of the means over their positions. */
  static double sum(Logits outputs, Logits target) {
    if (outputs.batch() != target.batch()
        || outputs.positions() != target.positions()
        || outputs.vocabulary() != target.vocabulary()) {
      throw new IllegalArgumentException(
          "expected outputs and target of one shape, got %s and %s".formatted(outputs, target));
    }
    double sum = 0;
    for (int row = 0; row < outputs.rows(); row++) {
      if (!outputs.isFinite(row) || !target.isFinite(row)) {
        return Double.NaN;
      }
      double[] output = outputs.logProbabilities(row);
      double[] goal = target.logProbabilities(row);
      for (int token = 0; token < output.length; token++) {
        double probability = Math.exp(goal[token]);
        if (probability > 0) {
          sum += probability * (goal[token] - output[token]);
        }
      }
    }
    return sum / outputs.positions();
  }
}
