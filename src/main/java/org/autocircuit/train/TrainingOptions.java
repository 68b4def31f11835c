package org.autocircuit.train;

/**
 * Says how long and how fast {@link IndirectObjectTraining} trains. Immutable; {@link #DEFAULT}
 * with {@code with} methods makes others.
 *
 * <p>The learning rate rises during the first {@value #WARM_UP_STEPS} steps, stays until the goal
 * is reached, and then falls to zero in a straight line during {@code coolDownSteps}, which takes
 * the noise out of the weights.
 *
 * @param seed chooses initial weights and training sentences
 * @param maxSteps steps before the rate falls, if the goal is not reached earlier
 * @param coolDownSteps steps while the rate falls, at least one
 * @param accuracyGoal share of held-out indirect-object sentences, in (0, 1], whose right name must
 *     be the most probable next token; asked of both orders of the names
 * @param measureEvery steps between two measurements
 * @param batchSize sentences per step
 * @param learningRate the highest one
 * @param weightDecay AdamW's, on the weight matrices
 * @param answerWeight how many ordinary tokens the sentence's last word counts for in the loss
 */
public record TrainingOptions(
    long seed,
    int maxSteps,
    int coolDownSteps,
    double accuracyGoal,
    int measureEvery,
    int batchSize,
    double learningRate,
    double weightDecay,
    double answerWeight) {

  /** Steps until the learning rate is at its highest. */
  public static final int WARM_UP_STEPS = 100;

  /** The options that the embedded model was trained with. */
  public static final TrainingOptions DEFAULT =
      new TrainingOptions(1, 3000, 800, 0.98, 100, 64, 3e-3, 0.01, 3);

  /**
   * Checks the values.
   *
   * @throws IllegalArgumentException naming the one that is out of range
   */
  public TrainingOptions {
    require(maxSteps >= 1, "maxSteps", "1 or more", maxSteps);
    require(coolDownSteps >= 1, "coolDownSteps", "1 or more", coolDownSteps);
    require(accuracyGoal > 0 && accuracyGoal <= 1, "accuracyGoal", "in (0, 1]", accuracyGoal);
    require(measureEvery >= 1, "measureEvery", "1 or more", measureEvery);
    require(batchSize >= 1, "batchSize", "1 or more", batchSize);
    require(learningRate > 0 && learningRate < 1, "learningRate", "in (0, 1)", learningRate);
    require(weightDecay >= 0 && weightDecay < 1, "weightDecay", "in [0, 1)", weightDecay);
    require(answerWeight >= 1 && answerWeight <= 1000, "answerWeight", "1 to 1000", answerWeight);
  }

  private static void require(boolean holds, String name, String expected, Number value) {
    if (!holds) {
      throw new IllegalArgumentException(
          "%s: expected %s, got %s".formatted(name, expected, value));
    }
  }

  /** These options with another seed. */
  public TrainingOptions withSeed(long other) {
    return new TrainingOptions(
        other,
        maxSteps,
        coolDownSteps,
        accuracyGoal,
        measureEvery,
        batchSize,
        learningRate,
        weightDecay,
        answerWeight);
  }

  /** These options with other numbers of steps. */
  public TrainingOptions withSteps(int max, int coolDown) {
    return new TrainingOptions(
        seed,
        max,
        coolDown,
        accuracyGoal,
        measureEvery,
        batchSize,
        learningRate,
        weightDecay,
        answerWeight);
  }

  /** These options with another goal. */
  public TrainingOptions withAccuracyGoal(double goal) {
    return new TrainingOptions(
        seed,
        maxSteps,
        coolDownSteps,
        goal,
        measureEvery,
        batchSize,
        learningRate,
        weightDecay,
        answerWeight);
  }

  /** These options with another batch size. */
  public TrainingOptions withBatchSize(int size) {
    return new TrainingOptions(
        seed,
        maxSteps,
        coolDownSteps,
        accuracyGoal,
        measureEvery,
        size,
        learningRate,
        weightDecay,
        answerWeight);
  }
}
