package org.autocircuit.benchmark;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.function.LongSupplier;
import java.util.function.ToLongFunction;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.internal.Access;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.NativeSequence;
import org.autocircuit.internal.NativeStepMasks;
import org.autocircuit.internal.StopFlag;
import org.autocircuit.internal.run.Passes;
import org.autocircuit.internal.run.StepChunk;
import org.autocircuit.internal.run.Steps;
import org.autocircuit.model.Model;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Native steps of generation as ratios to each other and to reading weights, keys and values once:
 * all rows once in each round, and the median of a row's ratios over the rounds. A round works on
 * copies of the sequences, so contexts stay as long as they are.
 */
final class GenerationSteps implements AutoCloseable {

  private static final int PREFILL = 512;

  /** A step of so many requests behind so many positions. */
  private record Case(
      String name, int rows, int context, Kind kind, boolean donors, String base, double limit) {}

  private enum Kind {
    PLAIN,
    DENSE,
    OWN_DENSE,
    SPARSE,
    ONE_DENSE
  }

  private static final List<Case> CASES =
      List.of(
          new Case("plain, 1 at 128", 1, 128, Kind.PLAIN, false, "read 1 at 128", 1.3),
          new Case("plain, 8 at 128", 8, 128, Kind.PLAIN, false, "read 8 at 128", 2.2),
          new Case("plain, 8 at 512", 8, 512, Kind.PLAIN, false, "read 8 at 512", 2.0),
          new Case("dense, 1", 1, 128, Kind.DENSE, false, "plain, 1 at 128", 1.3),
          new Case("dense, 8", 8, 128, Kind.DENSE, false, "plain, 8 at 128", 1.3),
          new Case("masks of their own, 8", 8, 128, Kind.OWN_DENSE, false, "plain, 8 at 128", 1.35),
          new Case("circuit 3 %, donor, 1", 1, 128, Kind.SPARSE, true, "plain, 1 at 128", 1.4),
          new Case("dense, donor, 1", 1, 128, Kind.DENSE, true, "plain, 1 at 128", 1.6),
          new Case("dense, donor, 8", 8, 128, Kind.DENSE, true, "plain, 8 at 128", 2.4),
          new Case("7 plain, 1 dense", 8, 128, Kind.ONE_DENSE, false, "plain, 8 at 128", 1.1));

  private final LongSupplier clock = Benchmarks.clock();
  private final Random random = new Random(1);
  private final BenchmarkSize size;
  private final String text;
  private final Model model;
  private final PatchableModel patchable;
  private final Steps steps;
  private final StopFlag stop = new StopFlag();
  private final Map<Integer, NativeSequence> contexts = new LinkedHashMap<>();
  private final List<NativeStepMasks> dense = new ArrayList<>();
  private final NativeStepMasks sparse;
  private final PointerScope scope = new PointerScope();
  private final Tensor constant;

  private GenerationSteps(BenchmarkSize size, String text) {
    this.size = size;
    this.text = text;
    model = RandomWeights.model(size.config(), 1);
    patchable = PatchableModel.of(model, PatchableModelOptions.defaults());
    steps = Access.patchableModel(PatchableModel.class, Passes.class).passes(patchable).steps();
    for (int i = 0; i < 8; i++) {
      dense.add(masks(random.doubles(patchable.graph().maskSize()).toArray()));
    }
    sparse =
        masks(random.doubles(patchable.graph().maskSize()).map(x -> x < 0.03 ? 0 : 1).toArray());
    constant =
        torch.randn(new long[] {patchable.graph().srcs().size(), 1, 1, size.config().dModel()});
    for (int context : new int[] {128, 512}) {
      NativeSequence sequence = steps.newSequence(context, true);
      run(List.of(StepChunk.plain(sequence, 0, tokens(context), false, false)));
      contexts.put(context, sequence);
    }
  }

  private NativeStepMasks masks(double[] values) {
    return steps.masks(Masks.of(patchable.graph(), values), MaskFn.NONE, 0, 0);
  }

  private long[] tokens(int n) {
    return random.longs(n, 0, size.config().dVocab()).toArray();
  }

  private void run(List<StepChunk> chunks) {
    try (CallScope call = new CallScope()) {
      steps.run(call, chunks, List.of(), List.of(), stop);
    }
  }

  /** One step of a case, without the copies it works on. */
  private long step(Case of) {
    List<StepChunk> chunks = new ArrayList<>();
    List<NativeSequence> copies = new ArrayList<>();
    for (int i = 0; i < of.rows(); i++) {
      NativeStepMasks masks =
          switch (of.kind()) {
            case PLAIN -> null;
            case DENSE -> dense.get(0);
            case OWN_DENSE -> dense.get(i);
            case SPARSE -> sparse;
            case ONE_DENSE -> i == 0 ? dense.get(0) : null;
          };
      NativeSequence copy = copy(of, copies);
      boolean donor = masks != null && of.donors();
      chunks.add(
          new StepChunk(
              copy,
              of.context(),
              tokens(1),
              true,
              false,
              masks,
              donor ? chunks.size() + 1 : StepChunk.NO_DONOR,
              masks != null && !donor ? constant : null));
      if (donor) {
        chunks.add(StepChunk.plain(copy(of, copies), of.context(), tokens(1), false, false));
      }
    }
    long start = clock.getAsLong();
    run(chunks);
    long nanos = clock.getAsLong() - start;
    copies.forEach(NativeSequence::close);
    return nanos;
  }

  private NativeSequence copy(Case of, List<NativeSequence> copies) {
    NativeSequence copy = contexts.get(of.context()).fork(of.context(), of.context() + 1);
    copies.add(copy);
    return copy;
  }

  /** A prompt in chunks. */
  private long prefill(int chunk, NativeStepMasks masks) {
    try (NativeSequence sequence = steps.newSequence(PREFILL, true)) {
      long[] prompt = tokens(PREFILL);
      long start = clock.getAsLong();
      for (int at = 0; at < PREFILL; at += chunk) {
        long[] some = Arrays.copyOfRange(prompt, at, at + chunk);
        run(
            List.of(
                new StepChunk(
                    sequence,
                    at,
                    some,
                    at + chunk == PREFILL,
                    false,
                    masks,
                    StepChunk.NO_DONOR,
                    masks == null ? null : constant)));
      }
      return clock.getAsLong() - start;
    }
  }

  /** Reads as many bytes as the weights, but for the embedding, and keys and values have. */
  private long read(int rows, int context) {
    long bytes =
        model.bytes()
            - 4L * size.config().dModel() * size.config().nCtx()
            + (long) rows * steps.sequenceBytes(context, false);
    try (PointerScope temporary = new PointerScope()) {
      Tensor x = torch.ones(new long[] {bytes / 4});
      long start = clock.getAsLong();
      x.sum(new org.bytedeco.pytorch.ScalarTypeOptional(ScalarType.Float));
      return clock.getAsLong() - start;
    }
  }

  /** The rows that were asked for, and those that they are ratios to. */
  private List<Case> cases() {
    List<String> bases =
        CASES.stream().filter(of -> of.name().contains(text)).map(Case::base).toList();
    return CASES.stream()
        .filter(of -> of.name().contains(text) || bases.contains(of.name()))
        .toList();
  }

  /** All rows once, in nanoseconds. */
  private Map<String, Long> round() {
    Map<String, Long> nanos = new LinkedHashMap<>();
    nanos.put("read 1 at 128", read(1, 128));
    nanos.put("read 8 at 128", read(8, 128));
    nanos.put("read 8 at 512", read(8, 512));
    ToLongFunction<Case> step = this::step;
    cases().forEach(of -> nanos.put(of.name(), step.applyAsLong(of)));
    return nanos;
  }

  /** {@code [SIZE [ROUNDS [TEXT]]]}: rows whose name contains it. */
  public static void main(String[] arguments) {
    Benchmarks.setThreads();
    BenchmarkSize size =
        arguments.length > 0 ? BenchmarkSize.valueOf(arguments[0]) : BenchmarkSize.GPT2_SMALL;
    int rounds = arguments.length > 1 ? Integer.parseInt(arguments[1]) : 15;
    String text = arguments.length > 2 ? arguments[2] : "";
    try (GenerationSteps benchmark = new GenerationSteps(size, text)) {
      benchmark.round();
      List<Map<String, Long>> all = new ArrayList<>();
      for (int i = 0; i < rounds; i++) {
        all.add(benchmark.round());
      }
      System.out.printf("%-24s %9s %7s  %s%n", "step", "ms", "ratio", "to (limit)");
      for (Case of : benchmark.cases()) {
        System.out.printf(
            "%-24s %9.2f %7.2f  %s (%s)%n",
            of.name(),
            median(all.stream().mapToDouble(r -> r.get(of.name()) / 1e6).toArray()),
            median(
                all.stream()
                    .mapToDouble(r -> (double) r.get(of.name()) / r.get(of.base()))
                    .toArray()),
            of.base(),
            of.limit());
      }
      if (!"prefill".contains(text)) {
        return;
      }
      for (NativeStepMasks masks : Arrays.asList(null, benchmark.dense.get(0))) {
        double[] ratios = new double[Math.max(3, rounds / 4)];
        for (int i = 0; i < ratios.length; i++) {
          double whole = benchmark.prefill(PREFILL, masks);
          ratios[i] = benchmark.prefill(64, masks) / whole;
        }
        System.out.printf(
            "%-24s %9s %7.2f  the whole prompt (1.2)%n",
            masks == null ? "prefill by 64" : "dense prefill by 64", "", median(ratios));
      }
    }
  }

  private static double median(double[] values) {
    Arrays.sort(values);
    return Measurement.quantile(values, 0.5);
  }

  @Override
  public void close() {
    contexts.values().forEach(NativeSequence::close);
    dense.forEach(NativeStepMasks::close);
    sparse.close();
    stop.close();
    scope.close();
    patchable.close();
    model.close();
  }
}
