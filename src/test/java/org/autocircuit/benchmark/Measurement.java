package org.autocircuit.benchmark;

import java.util.Arrays;
import java.util.OptionalLong;
import java.util.function.ToDoubleFunction;
import org.openjdk.jmh.results.IterationResult;
import org.openjdk.jmh.results.RunResult;

/**
 * Holds what the rounds of one row came to.
 *
 * @param milliseconds of one run, median over rounds
 * @param ratio to the plain pass of the same round, median over rounds; the mean where each round
 *     has a circuit of its own
 * @param lowerQuartile of the ratios
 * @param upperQuartile of the ratios
 * @param flops of one run; 0 where it does no arithmetic
 * @param peakBytes above the loaded model, where that was measured
 * @param peakLimit the most that is accepted
 */
record Measurement(
    BenchmarkSize size,
    Row row,
    double milliseconds,
    double ratio,
    double lowerQuartile,
    double upperQuartile,
    long flops,
    OptionalLong peakBytes,
    OptionalLong peakLimit) {

  static Measurement of(
      BenchmarkSize size,
      Row row,
      RunResult result,
      long flops,
      OptionalLong peakBytes,
      OptionalLong peakLimit) {
    double[] ratios =
        sorted(
            result,
            round -> time(round, PairedRounds.ROW_NANOS) / time(round, PairedRounds.PLAIN_NANOS));
    double[] times = sorted(result, round -> time(round, PairedRounds.ROW_NANOS) / 1e6);
    return new Measurement(
        size,
        row,
        quantile(times, 0.5),
        row.hasCircuitOfEachRound()
            ? Arrays.stream(ratios).average().orElseThrow()
            : quantile(ratios, 0.5),
        quantile(ratios, 0.25),
        quantile(ratios, 0.75),
        flops,
        peakBytes,
        peakLimit);
  }

  double gigaflopsPerSecond() {
    return flops / (milliseconds * 1e6);
  }

  boolean withinLimit() {
    return ratio <= row.limit().orElse(ratio)
        && milliseconds <= row.millisecondsLimit().orElse(milliseconds)
        && peakBytes.orElse(0) <= peakLimit.orElse(Long.MAX_VALUE);
  }

  private static double[] sorted(RunResult result, ToDoubleFunction<IterationResult> value) {
    double[] values =
        result.getBenchmarkResults().stream()
            .flatMap(fork -> fork.getIterationResults().stream())
            .mapToDouble(value)
            .toArray();
    Arrays.sort(values);
    return values;
  }

  private static double time(IterationResult round, String counter) {
    return round.getSecondaryResults().get(counter).getScore();
  }

  /** Between the two nearest values where the place is between them. */
  static double quantile(double[] sorted, double share) {
    double place = share * (sorted.length - 1);
    int below = (int) Math.floor(place);
    int above = (int) Math.ceil(place);
    return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
  }
}
