package org.autocircuit.cli;

import java.util.Collection;
import java.util.List;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.OptionalInt;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.patch.Ablation;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Options of algorithms; each of them takes some. */
final class AlgorithmOptions {

  private static final int POINTS = 5;
  private static final List<String> OPTIONS =
      List.of(
          "--points", "--metric", "--ablation", "--thresholds", "--epochs", "--lambda", "--seed");

  @Spec(Spec.Target.MIXEE)
  private CommandSpec spec;

  @Option(
      names = "--points",
      paramLabel = "N",
      description = "Points of integrated gradients, each of which costs a gradient. Default: 5.")
  private Integer points;

  @Option(
      names = "--metric",
      paramLabel = "METRIC",
      description = "In what answers are compared: ${COMPLETION-CANDIDATES}. Default: logit.")
  private Metric metric;

  @Option(
      names = "--ablation",
      paramLabel = "NAME",
      converter = Names.OfAblation.class,
      description =
          "What edges are patched with: resample (the corrupt prompt), zero, batch-tokenwise-mean,"
              + " batch-all-tok-mean, tokenwise-mean-clean, tokenwise-mean-corrupt or"
              + " tokenwise-mean-clean-and-corrupt. Default: resample; for subnetwork-probing"
              + " tokenwise-mean-corrupt.")
  private Ablation ablation;

  @Option(
      names = "--thresholds",
      paramLabel = "NATS",
      split = ",",
      description =
          "By how much an edge that acdc removes may change the outputs. Default: 1, 3, 5, 7 and 9"
              + " times 1e-5 to 1e-2.")
  private List<Double> thresholds;

  @Option(
      names = "--epochs",
      paramLabel = "N",
      description =
          "How often subnetwork-probing and edge-pruning visit each prompt. Default: 20; 100.")
  private Integer epochs;

  @Option(
      names = "--lambda",
      paramLabel = "NATS",
      description =
          "What all edges together cost subnetwork-probing, beside the divergence of the circuit"
              + " from the model. Too much, and no edge is worth its price. Default: 10.")
  private Double lambda;

  @Option(
      names = "--seed",
      paramLabel = "N",
      defaultValue = "0",
      description = "Seed of all that is drawn. Default: ${DEFAULT-VALUE}.")
  private long seed;

  /**
   * Refuses values that mean nothing, and options that neither a method nor the command takes.
   *
   * @param used the options that the command itself takes
   */
  void check(Collection<Method> methods, Set<String> used) {
    requireAtLeastOne("--points", points);
    requireAtLeastOne("--epochs", epochs);
    if (thresholds != null) {
      if (!thresholds.stream().allMatch(t -> t > 0 && t < Double.POSITIVE_INFINITY)) {
        throw wrong("--thresholds must be positive numbers, got " + thresholds);
      }
      if (Set.copyOf(thresholds).size() < thresholds.size()) {
        throw wrong("--thresholds names a threshold twice: " + thresholds);
      }
    }
    if (lambda != null && !(lambda >= 0 && lambda < Double.POSITIVE_INFINITY)) {
      throw wrong("--lambda must be 0 or more, got " + lambda);
    }
    for (String option : OPTIONS) {
      if (spec.commandLine().getParseResult().hasMatchedOption(option)
          && !used.contains(option)
          && methods.stream().noneMatch(method -> method.options().contains(option))) {
        throw wrong(
            "%s has no effect %s; it is for %s"
                .formatted(
                    option,
                    methods.isEmpty() ? "without methods" : "with " + names(methods.stream()),
                    names(
                        Stream.of(Method.values())
                            .filter(method -> method.options().contains(option)))));
      }
    }
  }

  private void requireAtLeastOne(String option, Integer value) {
    if (value != null && value < 1) {
      throw wrong("%s must be at least 1, got %s".formatted(option, value));
    }
  }

  Metric metric() {
    return metric == null ? Metric.LOGIT : metric;
  }

  /** The ablation that was asked for, if any. */
  Optional<Ablation> ablation() {
    return Optional.ofNullable(ablation);
  }

  /** Seed of all that is drawn. */
  long seed() {
    return seed;
  }

  AlgorithmSettings settings(boolean wrongAnswers) {
    return new AlgorithmSettings(
        metric(),
        wrongAnswers ? AnswerFunction.AVG_DIFF : AnswerFunction.AVG_VAL,
        ablation(),
        points == null ? POINTS : points,
        Optional.ofNullable(thresholds)
            .map(list -> list.stream().mapToDouble(Double::doubleValue).toArray()),
        epochs == null ? OptionalInt.empty() : OptionalInt.of(epochs),
        lambda == null ? OptionalDouble.empty() : OptionalDouble.of(lambda),
        seed);
  }

  private static String names(Stream<Method> methods) {
    return methods.map(Method::toString).collect(Collectors.joining(", "));
  }

  private ParameterException wrong(String problem) {
    return new ParameterException(spec.commandLine(), problem);
  }
}
