package org.autocircuit.cli;

import java.io.PrintWriter;
import java.time.Duration;
import java.util.Locale;
import org.autocircuit.PatchableModel;
import org.autocircuit.prune.EdgeActivationPatching;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.Verification;
import org.autocircuit.prune.VerifiedScores;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;

/** Tests estimated scores against exact effects, and says how far they can be trusted. */
final class VerifiedPart {

  private static final long MAX_SECONDS = 1_000_000_000;
  private static final long LEAST_NANOS = 2_000_000_000L;

  private VerifiedPart() {}

  /** Refuses a time below 0, and one that a method has no use for. */
  static void check(CommandSpec spec, Method method, Double budget) {
    if (budget != null && !(budget >= 0 && budget <= MAX_SECONDS)) {
      throw new ParameterException(
          spec.commandLine(),
          String.format(
              Locale.ROOT, "--budget must be seconds, 0 to %,d, got %s", MAX_SECONDS, budget));
    }
    if (budget != null && budget > 0 && !method.estimates()) {
      throw new ParameterException(
          spec.commandLine(),
          "--budget has no effect with %s, whose scores are %s"
              .formatted(method, method.isExact() ? "exact" : "no estimates of effects"));
    }
  }

  /** Returns the time that was given in seconds, else that of the attribution, or more. */
  static Duration time(Double budget, long attributionNanos) {
    return Duration.ofNanos(
        budget == null ? Math.max(attributionNanos, LEAST_NANOS) : (long) Math.ceil(budget * 1e9));
  }

  static VerifiedScores verify(
      PatchableModel model,
      Prompts prompts,
      PruneScores scores,
      AlgorithmSettings settings,
      Duration time,
      PrintWriter err) {
    try (PhaseProgress progress = PhaseProgress.of("verification", err)) {
      return Verification.builder()
          .patching(
              EdgeActivationPatching.builder()
                  .loss(settings.metric().gradFunction(), settings.answers())
                  .ablation(settings.ablation())
                  .build())
          .time(time)
          .seed(settings.seed())
          .build()
          .verify(model, prompts.finding(), scores, progress);
    }
  }

  static String describe(VerifiedScores verified) {
    int best = verified.top().size();
    return String.format(
        Locale.ROOT,
        "Verified: %,d of the best edges and %,d random ones patched exactly%s. Correlation of"
            + " estimate and effect over all edges: %s; of their ranks: %s (with 95 %% intervals)."
            + " %s",
        best,
        verified.sample().size(),
        verified.isComplete() ? "" : ", then the time was over (--budget SECONDS gives more)",
        verified.pearson(),
        verified.spearman(),
        missed(verified.expectedMissed(), best));
  }

  /** Says how many of the edges that matter the scores are expected to miss. */
  private static String missed(double expected, int best) {
    return expected < 0.05
        ? String.format(
            Locale.ROOT,
            "Judging by the random ones, none of the %,d edges with the greatest effects is missing"
                + " among the best %,d.",
            best,
            best)
        : String.format(
            Locale.ROOT,
            "Judging by the random ones, about %.1f of the %,d edges with the greatest effects are"
                + " missing among the best %,d.",
            expected,
            best,
            best);
  }
}
