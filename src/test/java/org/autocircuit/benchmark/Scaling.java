package org.autocircuit.benchmark;

import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.DoubleUnaryOperator;
import java.util.stream.DoubleStream;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.Threads;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.Model;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;

/**
 * Says what more cores bring: the time of one pass by the threads that it may use, and how many
 * passes a second callers get together out of one model, each on one thread.
 *
 * <pre>
 * mvn -q -Pbenchmark -Dbenchmark.class=org.autocircuit.benchmark.Scaling
 * mvn -q -Pbenchmark -Dbenchmark.class=org.autocircuit.benchmark.Scaling \
 *     -Dbenchmark.arguments=FOUR_LAYER
 * </pre>
 *
 * Argument: a {@link BenchmarkSize}; {@code GPT2_SMALL} unless given. Wall clock, medians of rounds
 * in which all settings take turns; factors are medians of those of single rounds. A pass is never
 * given more threads than there are processors, since they would wait for each other. Circuits are
 * 3 % of the edges, all others patched; twenty of them take turns.
 */
public final class Scaling {

  private static final int ROUNDS = 4;
  private static final List<Integer> THREADS = List.of(1, 2, 4);
  private static final List<Integer> CALLERS = List.of(1, 2, 4, 8);
  private static final int CIRCUITS = 20;
  private static final double CIRCUIT_SHARE = 0.03;
  private static final double BURST_NANOS = 2e9; // of one caller, about
  private static final int MIN_BURST = 16; // two for each caller

  private final BenchmarkSize size;
  private final int rounds;
  private final double burstNanos;
  private final PrintStream out;
  private final Random random = new Random(1);

  Scaling(BenchmarkSize size, int rounds, double burstNanos, PrintStream out) {
    this.size = size;
    this.rounds = rounds;
    this.burstNanos = burstNanos;
    this.out = out;
  }

  /** Prints both tables. */
  public static void main(String[] arguments) throws InterruptedException, ExecutionException {
    BenchmarkSize size =
        arguments.length > 0 ? BenchmarkSize.valueOf(arguments[0]) : BenchmarkSize.GPT2_SMALL;
    Machine.current().print(System.out);
    new Scaling(size, ROUNDS, BURST_NANOS, System.out).run();
  }

  /** Leaves the number of threads as it was. */
  void run() throws InterruptedException, ExecutionException {
    int threadsBefore = Threads.get();
    int processors = Runtime.getRuntime().availableProcessors();
    ExecutorService pool = Executors.newCachedThreadPool();
    Threads.set(1);
    try (Model model = RandomWeights.model(size.config(), 1);
        PatchableModel patchable = PatchableModel.of(model, PatchableModelOptions.defaults());
        Tensor clean = size.tokens(random);
        Tensor corrupt = size.tokens(random);
        SourceActivations patch = patchable.sourceAblations(corrupt, BatchAblation.RESAMPLE)) {
      // A reader should know how other work slows threads that wait for each other.
      out.printf(
          "%s, %d x %d tokens, %d processors, load %.1f%n",
          size.label(),
          BenchmarkSize.BATCH,
          BenchmarkSize.SEQ,
          processors,
          ManagementFactory.getOperatingSystemMXBean().getSystemLoadAverage());
      ModelGraph graph = patchable.graph();
      Masks values = Masks.of(graph, random.doubles(graph.maskSize()).toArray());
      Passes plain = new Passes("plain", patchable, clean, List.of(PatchContext.NONE));
      Passes dense = new Passes("dense", patchable, clean, List.of(PatchContext.of(patch, values)));
      Circuits ofShare = new Circuits(graph, patch);
      List<PatchContext> contexts =
          Stream.generate(() -> ofShare.random(CIRCUIT_SHARE)).limit(CIRCUITS).toList();
      Passes circuits = new Passes("circuit", patchable, clean, contexts);

      List<Integer> threads = THREADS.stream().filter(n -> n <= processors).toList();
      Comparison ofThreads = new Comparison("threads", threads, List.of(plain, dense));
      ofThreads.measure(
          (passes, n) -> {
            Threads.set(n);
            return passes.oneAfterAnother(passes.numberIn(burstNanos / 8, 1));
          });
      ofThreads.print("ms", nanos -> nanos / 1e6);

      Threads.set(1);
      Comparison ofCallers = new Comparison("callers", CALLERS, List.of(plain, circuits));
      ofCallers.measure(
          (passes, n) -> passes.atOnce(passes.numberIn(burstNanos, MIN_BURST), n, pool));
      ofCallers.print("/s", nanos -> 1e9 / nanos);
    } finally {
      pool.shutdown();
      Threads.set(threadsBefore);
    }
  }

  /** Passes of one kind, which take turns in their contexts. */
  private static final class Passes {

    private final String label;
    private final PatchableModel model;
    private final Tensor tokens;
    private final List<PatchContext> contexts;
    private final double nanosAtFirst;

    /** Warms up. */
    Passes(String label, PatchableModel model, Tensor tokens, List<PatchContext> contexts) {
      this.label = label;
      this.model = model;
      this.tokens = tokens;
      this.contexts = contexts;
      oneAfterAnother(contexts.size());
      nanosAtFirst = oneAfterAnother(contexts.size());
    }

    /** Returns how many fit into that time of one thread. */
    int numberIn(double nanos, int atLeast) {
      return Math.max(atLeast, (int) (nanos / nanosAtFirst));
    }

    /** Nanoseconds of each. */
    double oneAfterAnother(int number) {
      long start = System.nanoTime();
      for (int i = 0; i < number; i++) {
        run(i);
      }
      return (double) (System.nanoTime() - start) / number;
    }

    /** The same if so many callers take them from one queue. */
    double atOnce(int number, int callers, ExecutorService pool)
        throws InterruptedException, ExecutionException {
      AtomicInteger next = new AtomicInteger();
      List<Future<?>> running = new ArrayList<>();
      long start = System.nanoTime();
      for (int caller = 0; caller < callers; caller++) {
        running.add(
            pool.submit(
                () -> {
                  for (int i = next.getAndIncrement(); i < number; i = next.getAndIncrement()) {
                    run(i);
                  }
                }));
      }
      for (Future<?> caller : running) {
        caller.get();
      }
      return (double) (System.nanoTime() - start) / number;
    }

    private void run(int i) {
      try (PointerScope scope = new PointerScope()) {
        model.forward(tokens, contexts.get(i % contexts.size()));
      }
    }
  }

  /** Gives the nanoseconds of one pass under a setting. */
  @FunctionalInterface
  private interface Measure {
    double nanos(Passes passes, int setting) throws InterruptedException, ExecutionException;
  }

  /** Some kinds of passes under some settings, all of which take turns. */
  private final class Comparison {

    private final String name;
    private final List<Integer> settings;
    private final List<Passes> kinds;
    private final double[][][] nanos; // by kind, setting and round

    Comparison(String name, List<Integer> settings, List<Passes> kinds) {
      this.name = name;
      this.settings = settings;
      this.kinds = kinds;
      nanos = new double[kinds.size()][settings.size()][rounds];
    }

    void measure(Measure measure) throws InterruptedException, ExecutionException {
      for (int round = 0; round < rounds; round++) {
        for (int setting = 0; setting < settings.size(); setting++) {
          for (int kind = 0; kind < kinds.size(); kind++) {
            nanos[kind][setting][round] = measure.nanos(kinds.get(kind), settings.get(setting));
          }
        }
        out.printf("%s: round %d of %d%n", name, round + 1, rounds);
      }
    }

    void print(String unit, DoubleUnaryOperator ofNanos) {
      out.printf("%n%-8s", name);
      for (Passes kind : kinds) {
        out.printf("%14s%9s", kind.label + " " + unit, "times");
      }
      out.println();
      for (int setting = 0; setting < settings.size(); setting++) {
        out.printf("%-8d", settings.get(setting));
        for (int kind = 0; kind < kinds.size(); kind++) {
          double[] times = nanos[kind][setting];
          double[] first = nanos[kind][0];
          double faster = median(IntStream.range(0, rounds).mapToDouble(i -> first[i] / times[i]));
          out.printf("%14.1f%9.2f", ofNanos.applyAsDouble(median(Arrays.stream(times))), faster);
        }
        out.println();
      }
      out.println();
    }

    private double median(DoubleStream values) {
      return Measurement.quantile(values.sorted().toArray(), 0.5);
    }
  }
}
