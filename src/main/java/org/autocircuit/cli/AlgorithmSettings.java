package org.autocircuit.cli;

import java.util.Optional;
import java.util.OptionalDouble;
import java.util.OptionalInt;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.prune.AttributionBuilder;

/**
 * Settings of algorithms, each of which takes some of them.
 *
 * @param metric in what answers are compared
 * @param answers the difference from wrong answers, or the answers alone
 * @param ablationIfSet what edges are patched with, where it was said
 * @param points of integrals
 * @param thresholds of searches, where they were said
 * @param epochs of trainings, where they were said
 * @param lambda what all edges together cost in a training, where it was said
 * @param seed of what is drawn
 */
record AlgorithmSettings(
    Metric metric,
    AnswerFunction answers,
    Optional<Ablation> ablationIfSet,
    int points,
    Optional<double[]> thresholds,
    OptionalInt epochs,
    OptionalDouble lambda,
    long seed) {

  Ablation ablation() {
    return ablationIfSet.orElse(BatchAblation.RESAMPLE);
  }

  <B extends AttributionBuilder<B>> B onto(B builder) {
    return builder.gradFunction(metric.gradFunction()).answerFunction(answers).ablation(ablation());
  }
}
