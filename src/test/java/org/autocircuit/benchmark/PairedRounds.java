package org.autocircuit.benchmark;

import java.util.concurrent.TimeUnit;
import java.util.function.LongSupplier;
import org.openjdk.jmh.annotations.AuxCounters;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.infra.Blackhole;

/**
 * Rounds of a plain pass and one row, a round being one shot. A machine that is busy for a while
 * slows both halves of a round, so the quotient of the two is steadier than either time. The two
 * take turns in going first, since a scheduler is kinder to a thread that has just slept.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.SingleShotTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Fork(1)
public class PairedRounds {

  static final String PLAIN_NANOS = "plainNanos";
  static final String ROW_NANOS = "rowNanos";

  /** The two halves of a round. */
  @State(Scope.Thread)
  @AuxCounters(AuxCounters.Type.EVENTS)
  public static class Halves {
    /** Time of the plain pass. */
    public long plainNanos;

    /** Time of one run of the row, or of one of its edges. */
    public long rowNanos;
  }

  /** The model. */
  @Param({"FOUR_LAYER", "GPT2_SMALL"})
  public BenchmarkSize size;

  /** The row that is measured. */
  @Param public Row row;

  private Workload workload;
  private LongSupplier clock;
  private boolean rowFirst;

  /** Makes the model, which is then confined to this thread. */
  @Setup(Level.Trial)
  public void open() {
    Benchmarks.setThreads();
    clock = Benchmarks.clock();
    workload = new Workload(size);
  }

  /** Frees the model. */
  @TearDown(Level.Trial)
  public void close() {
    workload.close();
  }

  /** One round. */
  @Benchmark
  public void round(Halves halves, Blackhole blackhole) {
    if (rowFirst) {
      halves.rowNanos = rowNanos(blackhole);
      halves.plainNanos = plainNanos(blackhole);
    } else {
      halves.plainNanos = plainNanos(blackhole);
      halves.rowNanos = rowNanos(blackhole);
    }
    rowFirst = !rowFirst;
  }

  private long plainNanos(Blackhole blackhole) {
    long start = clock.getAsLong();
    blackhole.consume(workload.plainForward());
    return clock.getAsLong() - start;
  }

  private long rowNanos(Blackhole blackhole) {
    if (row.timesItself()) {
      return Math.max(1, (Long) row.run(workload));
    }
    long start = clock.getAsLong();
    for (int i = 0; i < row.repetitions(); i++) {
      blackhole.consume(row.run(workload));
    }
    return Math.max(1, (clock.getAsLong() - start) / row.repetitions());
  }
}
