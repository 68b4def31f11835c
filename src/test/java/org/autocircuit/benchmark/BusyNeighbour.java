package org.autocircuit.benchmark;

import java.io.IOException;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.DoubleSupplier;
import org.autocircuit.Threads;

/**
 * Says what one other process that keeps a core busy does to a pass whose threads are chosen by its
 * work: threads that wait for each other lose far more than the share of a core.
 *
 * <pre>
 * mvn -q -Pbenchmark -Dbenchmark.class=org.autocircuit.benchmark.BusyNeighbour
 * </pre>
 *
 * Wall clock, medians of rounds in which quiet and busy take turns. Times on one thread come last,
 * since a number of threads that was set is kept. The machine should be quiet but for this.
 */
public final class BusyNeighbour {

  private static final int ROUNDS = 5;
  private static final double SECONDS = 1.5; // of a measurement, about
  private static final List<BenchmarkSize> SIZES =
      List.of(BenchmarkSize.EMBEDDED, BenchmarkSize.FOUR_LAYER, BenchmarkSize.GPT2_SMALL);
  private static final List<Row> ROWS =
      List.of(Row.PLAIN_AT_LAST, Row.DENSE, Row.TREE_10, Row.MASK_GRADIENT, Row.TRAINING_STEP);

  private final List<BenchmarkSize> sizes;
  private final int rounds;
  private final double seconds;
  private final PrintStream out;

  BusyNeighbour(List<BenchmarkSize> sizes, int rounds, double seconds, PrintStream out) {
    this.sizes = sizes;
    this.rounds = rounds;
    this.seconds = seconds;
    this.out = out;
  }

  /** Prints the table. */
  public static void main(String[] arguments) throws IOException, InterruptedException {
    Machine.current().print(System.out);
    new BusyNeighbour(SIZES, ROUNDS, SECONDS, System.out).run();
  }

  void run() throws IOException, InterruptedException {
    List<Case> cases = new ArrayList<>();
    for (BenchmarkSize size : sizes) {
      try (Workload workload = new Workload(size)) {
        for (Row row : ROWS) {
          double[] quiet = new double[rounds];
          double[] busy = new double[rounds];
          for (int round = 0; round < rounds; round++) {
            quiet[round] = milliseconds(row, workload);
            busy[round] = besideAnother(() -> milliseconds(row, workload));
          }
          cases.add(new Case(size, row, median(quiet), median(busy)));
          out.printf("%s, %s: measured%n", size.label(), row.label());
        }
      }
    }
    int threads = Threads.get();
    Threads.set(1);
    out.printf(
        "%n%-11s %-44s %10s %10s %12s %12s %14s%n",
        "size", "row", "quiet ms", "busy ms", "busy/quiet", "1 thread ms", "busy/1 thread");
    for (BenchmarkSize size : sizes) {
      try (Workload workload = new Workload(size)) {
        for (Case measured : cases) {
          if (measured.size == size) {
            measured.print(milliseconds(measured.row, workload), out);
          }
        }
      }
    }
    Threads.set(threads);
  }

  /** Of one run of the row, the mean of as many as take about a second. */
  private double milliseconds(Row row, Workload workload) {
    long start = System.nanoTime();
    row.run(workload);
    row.run(workload);
    double once = (System.nanoTime() - start) / 2e9;
    int number = Math.max(1, (int) (seconds / once));
    start = System.nanoTime();
    for (int i = 0; i < number; i++) {
      row.run(workload);
    }
    return (System.nanoTime() - start) / 1e6 / number;
  }

  /** Returns what it gives while another process keeps one core busy. */
  private static double besideAnother(DoubleSupplier measure)
      throws IOException, InterruptedException {
    Process other = new ProcessBuilder("sh", "-c", "while :; do :; done").start();
    try {
      return measure.getAsDouble();
    } finally {
      other.destroyForcibly().waitFor();
    }
  }

  private static double median(double[] values) {
    return Measurement.quantile(Arrays.stream(values).sorted().toArray(), 0.5);
  }

  /** Milliseconds of a row. */
  private record Case(BenchmarkSize size, Row row, double quiet, double busy) {

    void print(double oneThread, PrintStream out) {
      out.printf(
          "%-11s %-44s %10.2f %10.2f %12.2f %12.2f %14.2f%n",
          size.label(), row.label(), quiet, busy, busy / quiet, oneThread, busy / oneThread);
    }
  }
}
