package org.autocircuit.cli;

import java.util.Arrays;
import java.util.List;
import java.util.function.Function;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.prune.Acdc;
import org.autocircuit.prune.ActivationIntegratedGradients;
import org.autocircuit.prune.ActivationMagnitude;
import org.autocircuit.prune.AtpStarAttribution;
import org.autocircuit.prune.CleanCorruptedAttribution;
import org.autocircuit.prune.EdgeActivationPatching;
import org.autocircuit.prune.EdgePruning;
import org.autocircuit.prune.GimAttribution;
import org.autocircuit.prune.InputIntegratedGradients;
import org.autocircuit.prune.MaskGradient;
import org.autocircuit.prune.PruneAlgorithm;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.RandomPruneScores;
import org.autocircuit.prune.SubnetworkProbing;
import org.autocircuit.prune.WeightNormPruneScores;

/** The algorithms that commands offer, with the options that each of them takes. */
@SuppressWarnings("ImmutableEnumChecker") // lists are unmodifiable, functions have no state
enum Method {
  EAP(
      Scores.ESTIMATES,
      List.of("--metric", "--ablation"),
      s -> s.onto(MaskGradient.builder()).build()),
  EAP_IG(
      Scores.ESTIMATES,
      List.of("--points", "--metric", "--ablation"),
      s -> s.onto(InputIntegratedGradients.builder().points(s.points())).build()),
  EAP_IG_ACTIVATIONS(
      Scores.ESTIMATES,
      List.of("--points", "--metric", "--ablation"),
      s -> s.onto(ActivationIntegratedGradients.builder().points(s.points())).build()),
  CLEAN_CORRUPTED(
      Scores.ESTIMATES,
      List.of("--metric", "--ablation"),
      s -> s.onto(CleanCorruptedAttribution.builder()).build()),
  MASK_IG(
      Scores.ESTIMATES,
      List.of("--points", "--metric", "--ablation"),
      s -> s.onto(MaskGradient.builder().integratedGradSamples(s.points())).build()),
  GIM(
      Scores.ESTIMATES,
      List.of("--metric", "--ablation"),
      s -> s.onto(GimAttribution.builder()).build()),
  ATP_STAR(
      Scores.ESTIMATES,
      List.of("--metric", "--ablation"),
      s -> s.onto(AtpStarAttribution.builder()).build()),
  EXACT(
      Scores.EXACT,
      List.of("--metric", "--ablation"),
      s ->
          EdgeActivationPatching.builder()
              .loss(s.metric().gradFunction(), s.answers())
              .ablation(s.ablation())
              .build()),
  ACDC(
      Scores.OTHER,
      List.of("--thresholds"),
      s -> {
        Acdc.Builder builder = Acdc.builder();
        s.thresholds().ifPresent(builder::thresholds);
        return builder.build();
      }),
  SUBNETWORK_PROBING(
      Scores.OTHER,
      List.of("--epochs", "--ablation", "--lambda", "--seed"),
      s -> {
        SubnetworkProbing.Builder builder = SubnetworkProbing.builder().seed(s.seed());
        s.epochs().ifPresent(builder::epochs);
        s.lambda().ifPresent(builder::regularizeLambda);
        s.ablationIfSet().ifPresent(builder::ablation);
        return builder.build();
      }),
  EDGE_PRUNING(
      Scores.OTHER,
      List.of("--epochs", "--ablation", "--seed"),
      s -> {
        EdgePruning.Builder builder = EdgePruning.builder().seed(s.seed());
        s.epochs().ifPresent(builder::epochs);
        s.ablationIfSet().ifPresent(builder::ablation);
        return builder.build();
      }),
  ACTIVATION_MAGNITUDE(Scores.OTHER, List.of(), s -> new ActivationMagnitude()),
  WEIGHT_NORM(Scores.OTHER, List.of(), s -> new WeightNormPruneScores()),
  RANDOM(Scores.OTHER, List.of("--seed"), s -> RandomPruneScores.seeded(s.seed()));

  /** Says what scores have to do with what patching an edge does. */
  private enum Scores {
    ESTIMATES,
    EXACT,
    OTHER
  }

  private final Scores scores;
  private final List<String> options;
  private final Function<AlgorithmSettings, PruneAlgorithm> algorithm;

  Method(
      Scores scores, List<String> options, Function<AlgorithmSettings, PruneAlgorithm> algorithm) {
    this.scores = scores;
    this.options = options;
    this.algorithm = algorithm;
  }

  /** The options that have an effect on it, of those of {@link AlgorithmOptions}. */
  List<String> options() {
    return options;
  }

  PruneAlgorithm algorithm(AlgorithmSettings settings) {
    return algorithm.apply(settings);
  }

  /** Returns whether scores estimate what patching an edge does. */
  boolean estimates() {
    return scores == Scores.ESTIMATES;
  }

  /** Returns whether scores are means of scores of each prompt, which it can tell. */
  boolean scoresPrompts() {
    return scores == Scores.ESTIMATES;
  }

  /** Returns whether scores are what patching an edge does. */
  boolean isExact() {
    return scores == Scores.EXACT;
  }

  /** Says what scores are. */
  String meaning(PruneAlgorithm algorithm, AlgorithmSettings settings, PruneScores scores) {
    if (this == RANDOM) {
      return "Scores are random numbers: a yardstick for others, which says nothing of the model.";
    }
    if (this == ACDC) {
      boolean kept = Arrays.stream(scores.toArray()).anyMatch(Double::isInfinite);
      return "Scores by %s, in %s: the smallest threshold at which the edge was removed.%s"
          .formatted(
              algorithm.name(),
              algorithm.unit(),
              kept
                  ? " Infinity: it was removed at none, not even at the greatest; such edges are in"
                      + " every circuit."
                  : "");
    }
    if (this.scores == Scores.OTHER) {
      String unit = algorithm.unit().equals("none") ? "" : ", in " + algorithm.unit();
      return "Scores by %s%s: the greater, the more the edge matters."
          .formatted(algorithm.name(), unit);
    }
    return ("The score %s how much the %s falls when the edge alone is patched with %s, as a mean"
            + " over the prompts (%s).")
        .formatted(
            this.scores == Scores.EXACT ? "is" : "estimates",
            settings.metric().describe(settings.answers() == AnswerFunction.AVG_DIFF),
            patch(settings.ablation()),
            algorithm.name());
  }

  private static String patch(Ablation ablation) {
    if (ablation == BatchAblation.RESAMPLE) {
      return "the corrupt prompt";
    }
    return ablation == BatchAblation.ZERO ? "zeros" : "means";
  }

  /** Returns it as people type it. */
  @Override
  public String toString() {
    return Names.typed(this);
  }
}
