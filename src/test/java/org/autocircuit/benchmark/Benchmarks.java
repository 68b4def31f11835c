package org.autocircuit.benchmark;

import java.io.IOException;
import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.lang.management.OperatingSystemMXBean;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.function.LongSupplier;
import org.autocircuit.Threads;
import org.autocircuit.graph.ModelGraph;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.CommandLineOptionException;
import org.openjdk.jmh.runner.options.CommandLineOptions;
import org.openjdk.jmh.runner.options.Options;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.VerboseMode;
import org.openjdk.jmh.util.Optional;

/**
 * Measures every row at every size, each row against the plain pass of its own rounds, then prints
 * a table and writes {@code target/benchmark/ratios.json}.
 *
 * <pre>
 * mvn -q -Pbenchmark
 * mvn -q -Pbenchmark -Dautocircuit.threads=1
 * mvn -q -Pbenchmark -Dbenchmark.arguments="-p size=FOUR_LAYER -p row=DENSE,MASK_GRADIENT -i 40"
 * </pre>
 *
 * Arguments are JMH's own. Threads default to what the work of a pass is worth. On a machine that
 * is busy with other things, {@code -Dautocircuit.threads=1 -Dautocircuit.clock=cpu} counts
 * processor time, which is steadier. {@code -Dautocircuit.seq=128} makes prompts longer than 16
 * tokens.
 */
public final class Benchmarks {

  /** System property: threads of one call; by the work of a pass if it is empty. */
  static final String THREADS = "autocircuit.threads";

  /** System property: {@code cpu} counts the thread's processor time instead of the wall clock. */
  static final String CLOCK = "autocircuit.clock";

  private static final Path RATIOS = Path.of("target", "benchmark", "ratios.json");
  private static final List<BenchmarkSize> SIZES =
      List.of(BenchmarkSize.FOUR_LAYER, BenchmarkSize.GPT2_SMALL);
  private static final List<Row> ROWS_WITH_PEAK =
      List.of(Row.PLAIN_BACKWARD, Row.MASK_GRADIENT, Row.TRAINING_STEP);

  private final Options options;
  private final PrintStream out;

  Benchmarks(Options options, PrintStream out) {
    this.options = options;
    this.out = out;
  }

  /** Runs what the arguments, which are JMH's, do not exclude. */
  public static void main(String[] arguments)
      throws IOException, InterruptedException, RunnerException, CommandLineOptionException {
    Benchmarks benchmarks = new Benchmarks(new CommandLineOptions(arguments), System.out);
    warnOfOtherWork();
    List<Measurement> measurements = benchmarks.run();
    System.out.printf(
        "%nthreads: %s, clock: %s%n",
        setting(THREADS, "by the work of a pass"), setting(CLOCK, "wall"));
    report(measurements, Machine.current(), RATIOS, System.out);
  }

  /** Prints the table; writes the ratios where they are worth comparing. */
  static void report(List<Measurement> measurements, Machine machine, Path ratios, PrintStream out)
      throws IOException {
    machine.print(out);
    BenchmarkReport.printTable(measurements, out);
    if (machine.isComparable()) {
      BenchmarkReport.writeRatios(measurements, ratios);
    } else {
      Files.deleteIfExists(ratios); // those of another run are not this one's
      out.println(ratios + " was not written: see above");
    }
  }

  /** Threads of a product that wait for one another on a busy machine take many times as long. */
  private static void warnOfOtherWork() {
    OperatingSystemMXBean system = ManagementFactory.getOperatingSystemMXBean();
    if (system.getSystemLoadAverage() > system.getAvailableProcessors()
        && !setting(CLOCK, "wall").equals("cpu")) {
      System.out.printf(
          "The machine is busy (load %.1f on %d cores); -D%s=1 -D%s=cpu would be steadier.%n",
          system.getSystemLoadAverage(), system.getAvailableProcessors(), THREADS, CLOCK);
    }
  }

  private static String setting(String property, String otherwise) {
    String value = System.getProperty(property, "");
    return value.isEmpty() ? otherwise : value;
  }

  /** Sets the number of threads, for this process, if the user gave one. */
  static void setThreads() {
    String threads = setting(THREADS, "");
    if (!threads.isEmpty()) {
      Threads.set(Integer.parseInt(threads));
    }
  }

  /** Nanoseconds since some moment, of the clock that the user wants. */
  static LongSupplier clock() {
    return switch (setting(CLOCK, "wall")) {
      case "wall" -> System::nanoTime;
      case "cpu" -> {
        if (Threads.get() != 1) {
          throw new IllegalArgumentException(
              "%s=cpu counts one thread only: set %s=1".formatted(CLOCK, THREADS));
        }
        yield ManagementFactory.getThreadMXBean()::getCurrentThreadCpuTime;
      }
      default ->
          throw new IllegalArgumentException(
              "%s: expected wall or cpu, got %s".formatted(CLOCK, System.getProperty(CLOCK)));
    };
  }

  List<Measurement> run() throws IOException, InterruptedException, RunnerException {
    List<BenchmarkSize> sizes = parameter("size", BenchmarkSize.class, SIZES);
    List<Row> rows = parameter("row", Row.class, List.of(Row.values()));
    List<Measurement> measurements = new ArrayList<>();
    for (BenchmarkSize size : sizes) {
      ModelGraph graph = ModelGraph.of(size.config(), true, true);
      FlopCount flops = FlopCount.of(size.config(), graph, BenchmarkSize.BATCH, BenchmarkSize.SEQ);
      Map<Row, Long> peaks = peaks(size, rows);
      int layers = size.config().nLayers();
      long backward = peaks.getOrDefault(Row.PLAIN_BACKWARD, 0L) * layers / (layers - 1);
      for (Row row : rows) {
        RunResult result = new Runner(options(size, row)).runSingle();
        OptionalLong peak =
            peaks.containsKey(row) ? OptionalLong.of(peaks.get(row)) : OptionalLong.empty();
        OptionalLong peakLimit =
            peak.isPresent() ? row.peakLimit(size, backward) : OptionalLong.empty();
        Measurement m = Measurement.of(size, row, result, row.flops(flops), peak, peakLimit);
        measurements.add(m);
        out.printf("%s, %s: %.3f ms%n", size.label(), row.label(), m.milliseconds());
      }
    }
    return measurements;
  }

  private Options options(BenchmarkSize size, Row row) {
    OptionsBuilder builder = new OptionsBuilder();
    builder
        .parent(options)
        .include(PairedRounds.class.getSimpleName())
        .param("size", size.name())
        .param("row", row.name())
        .shouldFailOnError(true);
    if (!options.verbosity().hasValue()) {
      builder.verbosity(VerboseMode.SILENT);
    }
    if (!options.getMeasurementIterations().hasValue()) {
      builder.measurementIterations(
          row.hasCircuitOfEachRound() ? size.rounds() : size.rounds() / 2);
    }
    if (!options.getWarmupIterations().hasValue()) {
      builder.warmupIterations(size.warmups());
    }
    return builder.build();
  }

  /** Of rows that have one, and of what their limits are made of. */
  private static Map<Row, Long> peaks(BenchmarkSize size, List<Row> rows)
      throws IOException, InterruptedException {
    Map<Row, Long> peaks = new EnumMap<>(Row.class);
    boolean any = rows.stream().anyMatch(ROWS_WITH_PEAK::contains);
    for (Row row : ROWS_WITH_PEAK) {
      boolean wanted = rows.contains(row) || (any && row == Row.PLAIN_BACKWARD);
      if (wanted && PeakMemory.isAvailable()) {
        peaks.put(row, PeakMemory.median(size, row));
      }
    }
    return peaks;
  }

  private <E extends Enum<E>> List<E> parameter(String name, Class<E> type, List<E> defaults) {
    Optional<Collection<String>> given = options.getParameter(name);
    return given.hasValue()
        ? given.get().stream().map(value -> Enum.valueOf(type, value)).toList()
        : defaults;
  }
}
