package org.autocircuit.train;

/**
 * Holds what came out of a training.
 *
 * @param steps all that were made
 * @param loss mean training loss of the last steps
 * @param scores of the trained model, on sentences that no earlier measurement used
 * @param goalReached whether {@code scores} reach the goal
 */
public record TrainingReport(int steps, double loss, HeldOutScores scores, boolean goalReached) {}
