package org.autocircuit.benchmark;

import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.function.Consumer;
import java.util.function.IntFunction;
import java.util.stream.IntStream;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.Threads;
import org.autocircuit.Workspaces;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.model.Model;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;

/**
 * Says how time and memory grow with the numbers of layers, heads, prompts and tokens: the exponent
 * of the power law between the largest of three sizes, each twice the one before, and the smallest,
 * all else being equal.
 *
 * <pre>
 * mvn -q -Pbenchmark -Dbenchmark.class=org.autocircuit.benchmark.Growth
 * </pre>
 *
 * Time is the processor time of one thread, the least of some rounds; memory is what tensors of a
 * pass hold at once at most, source activations included. All heads together stay as wide as the
 * model, so their number changes how many edges there are, and not how many weights.
 */
public final class Growth {

  private static final int ROUNDS = 5;
  private static final int[] TIMES = {1, 2, 4};
  private static final int VOCABULARY = 1000;
  private static final int WIDTH = 256;

  /** Holds what the model and its prompts are. */
  private record Size(int layers, int heads, int prompts, int tokens) {

    TransformerConfig config() {
      return TransformerConfig.builder()
          .nLayers(layers)
          .dModel(WIDTH)
          .nHeads(heads)
          .dVocab(VOCABULARY)
          .build();
    }
  }

  private record Axis(String name, IntFunction<Size> times) {}

  private static final List<Axis> AXES =
      List.of(
          new Axis("layers", n -> new Size(4 * n, 8, 4, 32)),
          new Axis("heads", n -> new Size(4, 8 * n, 4, 32)),
          new Axis("prompts", n -> new Size(4, 8, 4 * n, 32)),
          new Axis("tokens", n -> new Size(4, 8, 4, 32 * n)));

  private record Work(String name, Consumer<Setting> pass) {}

  private static final List<Work> WORK =
      List.of(
          new Work("plain forward", Setting::plainForward),
          new Work("patched forward, source activations included", Setting::patchedForward),
          new Work("mask gradient at 0, source activations included", Setting::maskGradient));

  private record Cost(double nanos, double bytes) {}

  private final int rounds;
  private final PrintStream out;

  Growth(int rounds, PrintStream out) {
    this.rounds = rounds;
    this.out = out;
  }

  /** Prints the table. */
  public static void main(String[] arguments) {
    Threads.set(1);
    Machine.current().print(System.out);
    new Growth(ROUNDS, System.out).run();
  }

  void run() {
    out.printf("%-52s %-8s %20s %20s%n", "", "", "time, exponent", "memory, exponent");
    for (Work work : WORK) {
      for (Axis axis : AXES) {
        print(work, axis);
      }
    }
  }

  private void print(Work work, Axis axis) {
    List<Cost> costs = new ArrayList<>();
    for (int times : TIMES) {
      costs.add(cost(axis.times().apply(times), work.pass()));
    }
    Cost first = costs.get(0);
    Cost last = costs.get(costs.size() - 1);
    double doublings = Math.log(TIMES[TIMES.length - 1]);
    out.printf(
        "%-52s %-8s %8.0f ms %8.2f %8.0f MB %8.2f%n",
        work.name(),
        axis.name(),
        last.nanos / 1e6,
        Math.log(last.nanos / first.nanos) / doublings,
        last.bytes / 1e6,
        Math.log(last.bytes / first.bytes) / doublings);
  }

  private Cost cost(Size size, Consumer<Setting> work) {
    try (Setting setting = new Setting(size)) {
      work.accept(setting);
      double nanos = Double.POSITIVE_INFINITY;
      double bytes = 0;
      for (int round = 0; round < rounds; round++) {
        Workspaces.resetPeak();
        long start = processorTime();
        work.accept(setting);
        nanos = Math.min(nanos, (double) (processorTime() - start));
        bytes = (double) Workspaces.peakBytes();
      }
      return new Cost(nanos, bytes);
    }
  }

  private static long processorTime() {
    return ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime();
  }

  /** Model and prompts of one size. */
  private static final class Setting implements AutoCloseable {

    private final Random random = new Random(1);
    private final Model parent;
    private final PatchableModel model;
    private final long[][] clean;
    private final long[][] corrupt;
    private final AnswerLoss loss;
    private final Masks masks;

    Setting(Size size) {
      parent = RandomWeights.model(size.config(), 1);
      model = PatchableModel.of(parent, PatchableModelOptions.defaults());
      clean = tokens(size.prompts, size.tokens);
      corrupt = tokens(size.prompts, size.tokens);
      loss =
          AnswerLoss.of(
              GradFunction.LOGIT,
              AnswerFunction.AVG_DIFF,
              tokens(size.prompts, 1),
              tokens(size.prompts, 1));
      masks = Masks.of(model.graph(), random.doubles(model.graph().maskSize()).toArray());
    }

    void plainForward() {
      model.logits(clean, PatchContext.NONE);
    }

    void patchedForward() {
      try (SourceActivations patch = model.sourceAblations(corrupt, BatchAblation.RESAMPLE)) {
        model.logits(clean, PatchContext.of(patch, masks));
      }
    }

    void maskGradient() {
      try (PointerScope scope = new PointerScope();
          SourceActivations patch = model.sourceAblations(corrupt, BatchAblation.RESAMPLE)) {
        model.maskGradient(clean, PatchContext.of(patch, Masks.uniform(model.graph(), 0)), loss);
      }
    }

    private long[][] tokens(int prompts, int tokens) {
      return IntStream.range(0, prompts)
          .mapToObj(i -> random.longs(tokens, 0, VOCABULARY).toArray())
          .toArray(long[][]::new);
    }

    @Override
    public void close() {
      model.close();
      parent.close();
    }
  }
}
