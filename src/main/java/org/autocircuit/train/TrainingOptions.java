package org.autocircuit.train;

import org.autocircuit.internal.Components;

/**
 * Says how long and how fast {@link IndirectObjectTraining} trains. Immutable; {@link #DEFAULT}
 * with {@code with} methods makes others, which throw an {@code IllegalArgumentException} naming a
 * value that is out of range.
 *
 * <p>The learning rate rises during the first {@value #WARM_UP_STEPS} steps, stays until the goal
 * is reached, and then falls to zero in a straight line during {@code coolDownSteps}, which takes
 * the noise out of the weights.
 */
public final class TrainingOptions {

  private final long seed;
  private final int maxSteps;
  private final int coolDownSteps;
  private final double accuracyGoal;
  private final int measureEvery;
  private final int batchSize;
  private final double learningRate;
  private final double weightDecay;
  private final double answerWeight;

  /** Steps until the learning rate is at its highest. */
  public static final int WARM_UP_STEPS = 100;

  /** The options that the embedded model was trained with. */
  public static final TrainingOptions DEFAULT =
      new TrainingOptions(1, 3000, 800, 0.98, 100, 64, 3e-3, 0.01, 3);

  private TrainingOptions(
      long seed,
      int maxSteps,
      int coolDownSteps,
      double accuracyGoal,
      int measureEvery,
      int batchSize,
      double learningRate,
      double weightDecay,
      double answerWeight) {
    require(maxSteps >= 1, "maxSteps", "1 or more", maxSteps);
    require(coolDownSteps >= 1, "coolDownSteps", "1 or more", coolDownSteps);
    require(accuracyGoal > 0 && accuracyGoal <= 1, "accuracyGoal", "in (0, 1]", accuracyGoal);
    require(measureEvery >= 1, "measureEvery", "1 or more", measureEvery);
    require(batchSize >= 1, "batchSize", "1 or more", batchSize);
    require(learningRate > 0 && learningRate < 1, "learningRate", "in (0, 1)", learningRate);
    require(weightDecay >= 0 && weightDecay < 1, "weightDecay", "in [0, 1)", weightDecay);
    require(answerWeight >= 1 && answerWeight <= 1000, "answerWeight", "1 to 1000", answerWeight);
    this.seed = seed;
    this.maxSteps = maxSteps;
    this.coolDownSteps = coolDownSteps;
    this.accuracyGoal = accuracyGoal;
    this.measureEvery = measureEvery;
    this.batchSize = batchSize;
    this.learningRate = learningRate;
    this.weightDecay = weightDecay;
    this.answerWeight = answerWeight;
  }

  /** Returns the seed that chooses initial weights and training sentences. */
  public long seed() {
    return seed;
  }

  /** Returns the number of steps before the rate falls, if the goal is not reached earlier. */
  public int maxSteps() {
    return maxSteps;
  }

  /** Returns the number of steps while the rate falls, at least one. */
  public int coolDownSteps() {
    return coolDownSteps;
  }

  /**
   * Returns the share of held-out indirect-object sentences, in (0, 1], whose right name must be
   * the most probable next token; asked of both orders of the names.
   */
  public double accuracyGoal() {
    return accuracyGoal;
  }

  /** Returns the number of steps between two measurements. */
  public int measureEvery() {
    return measureEvery;
  }

  /** Returns the number of sentences per step. */
  public int batchSize() {
    return batchSize;
  }

  /** Returns the highest learning rate. */
  public double learningRate() {
    return learningRate;
  }

  /** Returns AdamW's weight decay, on the weight matrices. */
  public double weightDecay() {
    return weightDecay;
  }

  /** Returns how many ordinary tokens the sentence's last word counts for in the loss. */
  public double answerWeight() {
    return answerWeight;
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

  /** These options with another number of steps between two measurements. */
  public TrainingOptions withMeasureEvery(int steps) {
    return new TrainingOptions(
        seed,
        maxSteps,
        coolDownSteps,
        accuracyGoal,
        steps,
        batchSize,
        learningRate,
        weightDecay,
        answerWeight);
  }

  /** These options with another highest learning rate. */
  public TrainingOptions withLearningRate(double rate) {
    return new TrainingOptions(
        seed,
        maxSteps,
        coolDownSteps,
        accuracyGoal,
        measureEvery,
        batchSize,
        rate,
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

  @Override
  public boolean equals(Object other) {
    return other instanceof TrainingOptions that && components().equals(that.components());
  }

  @Override
  public int hashCode() {
    return components().hashCode();
  }

  @Override
  public String toString() {
    return "TrainingOptions" + components();
  }

  private Components components() {
    return Components.of(
        "seed",
        seed,
        "maxSteps",
        maxSteps,
        "coolDownSteps",
        coolDownSteps,
        "accuracyGoal",
        accuracyGoal,
        "measureEvery",
        measureEvery,
        "batchSize",
        batchSize,
        "learningRate",
        learningRate,
        "weightDecay",
        weightDecay,
        "answerWeight",
        answerWeight);
  }
}
