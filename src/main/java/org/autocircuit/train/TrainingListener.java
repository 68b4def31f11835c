package org.autocircuit.train;

/** Is told how a training goes, on the training's thread. */
@FunctionalInterface
public interface TrainingListener {

  /**
   * The model was measured.
   *
   * @param step steps made so far
   * @param loss mean training loss since the last measurement
   * @param coolingDown whether the goal was reached and the learning rate is falling
   * @param scores on held-out sentences, the same ones at each measurement
   */
  void measured(int step, double loss, boolean coolingDown, HeldOutScores scores);
}
