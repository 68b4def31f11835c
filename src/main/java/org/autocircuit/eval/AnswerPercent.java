package org.autocircuit.eval;

import java.util.Arrays;
import java.util.List;

/**
 * Says what per cent of the full model's answer a circuit recovers: 100 for the full model. The
 * counterparts of the Python original's {@code measure_answer_diff_percent}. Answers are measured
 * as {@link AnswerMetrics#differences} does, one number for each prompt.
 */
public final class AnswerPercent {

  private AnswerPercent() {}

  /**
   * The circuit's mean over prompts in per cent of the full model's. Needs only that the full
   * model's mean is not near 0.
   *
   * @param circuit one number for each prompt
   * @param fullModel for the same prompts
   * @return NaN or infinite if the full model's mean is 0
   * @throws IllegalArgumentException if there are not equally many numbers, or none
   */
  public static double ofMeans(double[] circuit, double[] fullModel) {
    requireSamePrompts(circuit, fullModel);
    return 100 * Arrays.stream(circuit).sum() / Arrays.stream(fullModel).sum();
  }

  /**
   * Each prompt's number in per cent of the full model's on it; prompts on which the full model has
   * almost no opinion have a great say in their mean.
   *
   * @param circuit one number for each prompt
   * @param fullModel for the same prompts
   * @return one percentage for each prompt; NaN or infinite where the full model's number is 0
   * @throws IllegalArgumentException if there are not equally many numbers, or none
   */
  public static double[] ofEachPrompt(double[] circuit, double[] fullModel) {
    requireSamePrompts(circuit, fullModel);
    double[] percent = new double[circuit.length];
    Arrays.setAll(percent, prompt -> 100 * circuit[prompt] / fullModel[prompt]);
    return percent;
  }

  private static void requireSamePrompts(double[] circuit, double[] fullModel) {
    if (circuit.length != fullModel.length || circuit.length == 0) {
      throw new IllegalArgumentException(
          "expected a number of circuit and full model for each prompt, got %s"
              .formatted(List.of(circuit.length, fullModel.length)));
    }
  }
}
