package org.autocircuit.patch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.autocircuit.Close.assertClose;
import static org.autocircuit.Close.assertDiffer;
import static org.autocircuit.RandomModels.SMALL;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.autocircuit.NativeScope;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.RandomModels;
import org.autocircuit.TestDevice;
import org.autocircuit.TestModels;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.pass.PlanPolicy;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** One pass over stacked contexts gives each request what a pass of its own gives. */
@ExtendWith(NativeScope.class)
class StackedContextsTest {

  private static final int SEQ = 5;
  private static final int ROUNDS = 12;

  private static final PlanPolicy[] POLICIES = PlanPolicy.values();

  /** Which activations the contexts of a stack have. */
  private enum Sources {
    /** All the same, with one row. */
    SHARED,
    /** Any, made from prompts of the same length. */
    MIXED,
    /** Any, made from prompts of other lengths. */
    RAGGED
  }

  record Kind(Precision precision, boolean factorized, boolean separateQkv, boolean positions) {

    PatchableModelOptions options() {
      PatchableModelOptions options =
          PatchableModelOptions.defaults()
              .withFactorized(factorized)
              .withSeparateQkv(separateQkv)
              .withOutputSlice(OutputSlice.LAST_SEQ);
      return positions ? options.withSeqLen(SEQ) : options;
    }

    double tolerance() {
      return precision == Precision.FLOAT64 ? 1e-11 : 1e-4;
    }
  }

  static Stream<Kind> kinds() {
    return Stream.of(Precision.FLOAT32, Precision.FLOAT64)
        .flatMap(
            precision ->
                Stream.of(false, true)
                    .flatMap(
                        positions ->
                            Stream.of(
                                new Kind(precision, true, true, positions),
                                new Kind(precision, true, false, positions),
                                new Kind(precision, false, true, positions))));
  }

  /** Prompts and how they are patched. */
  @SuppressWarnings("ArrayRecordComponent") // nobody compares them
  private record Request(long[][] prompts, PatchContext context) {}

  /** Random requests to one model, whose native parts it closes. */
  private static final class Requests implements AutoCloseable {

    private final PatchableModel model;
    private final ModelGraph graph;
    private final Random random;
    private final SourceActivations mean;
    private final List<AutoCloseable> owned = new ArrayList<>();

    Requests(PatchableModel model, long seed) {
      this.model = model;
      graph = model.graph();
      random = new Random(seed);
      PromptPairBatch batch = RandomModels.promptPairs(SMALL, 3, SEQ, seed);
      mean = own(model.sourceAblations(List.of(batch), DatasetAblation.TOKENWISE_MEAN_CORRUPT));
    }

    List<Request> next(Sources sources, boolean positions) {
      MaskFn maskFn = random.nextInt(3) == 0 ? MaskFn.SIGMOID : MaskFn.NONE;
      List<Request> requests = new ArrayList<>();
      int count = 1 + random.nextInt(5);
      for (int i = 0; i < count; i++) {
        boolean shorter = sources == Sources.RAGGED && !positions;
        long[][] prompts = prompts(shorter ? 1 + random.nextInt(SEQ) : SEQ, sources);
        PatchContext context = PatchContext.NONE;
        if (random.nextInt(4) > 0) {
          context =
              PatchContext.builder(activations(prompts, sources), masks(prompts.length))
                  .maskFn(maskFn)
                  .build();
        }
        requests.add(new Request(prompts, context));
      }
      return requests;
    }

    /** The first has all the tokens, others may have fewer. */
    private long[][] prompts(int seq, Sources sources) {
      long[][] prompts = RandomModels.prompts(SMALL, 1 + random.nextInt(3), seq, random.nextLong());
      for (int i = 1; sources == Sources.RAGGED && i < prompts.length; i++) {
        prompts[i] = Arrays.copyOf(prompts[i], 1 + random.nextInt(seq));
      }
      return prompts;
    }

    private SourceActivations activations(long[][] prompts, Sources sources) {
      int kind = random.nextInt(5);
      if (sources == Sources.SHARED || (sources == Sources.MIXED && kind == 0)) {
        return mean;
      }
      long[][] corrupt = new long[prompts.length][];
      for (int i = 0; i < corrupt.length; i++) {
        corrupt[i] = RandomModels.prompts(SMALL, 1, prompts[i].length, random.nextLong())[0];
      }
      BatchAblation type =
          switch (kind) {
            case 1 -> BatchAblation.ZERO;
            case 2 -> BatchAblation.BATCH_TOKENWISE_MEAN;
            case 3 -> BatchAblation.BATCH_ALL_TOK_MEAN;
            default -> BatchAblation.RESAMPLE;
          };
      SourceActivations made = own(model.sourceAblations(corrupt, type));
      if (type == BatchAblation.RESAMPLE && random.nextBoolean()) {
        return own(SourceActivations.of(made.tensor().narrow(1, 0, 1)));
      }
      return made;
    }

    private MaskValues masks(int prompts) {
      double[] values = RandomModels.masks(graph, random.nextLong());
      return switch (random.nextInt(6)) {
        case 0 -> Masks.uniform(graph, random.nextInt(3) / 2.0);
        case 1 -> Masks.ofEdges(TestModels.circuit(graph, 0.1, random.nextLong()));
        case 2 -> Masks.allBut(TestModels.circuit(graph, 0.1, random.nextLong()));
        case 3 -> {
          double[][] rows = new double[prompts][];
          Arrays.setAll(rows, i -> RandomModels.masks(graph, random.nextLong()));
          yield Masks.perExample(graph, rows);
        }
        case 4 -> {
          MaskParameters parameters = own(model.newMaskParameters());
          parameters.set(values);
          yield parameters;
        }
        default -> {
          float[] floats = new float[values.length];
          for (int i = 0; i < floats.length; i++) {
            floats[i] = (float) values[i];
          }
          yield Masks.of(graph, floats);
        }
      };
    }

    private <T extends AutoCloseable> T own(T made) {
      owned.add(made);
      return made;
    }

    @Override
    public void close() {
      for (AutoCloseable each : owned) {
        try {
          each.close();
        } catch (Exception e) {
          throw new AssertionError(e);
        }
      }
    }
  }

  private static List<long[][]> prompts(List<Request> requests) {
    return requests.stream().map(Request::prompts).toList();
  }

  /** In one of the two ways if both will do. */
  private static StackedContexts stack(List<Request> requests, boolean byCount) {
    List<PatchContext> contexts = requests.stream().map(Request::context).toList();
    return byCount
        ? PatchContext.stack(
            contexts, requests.stream().mapToInt(request -> request.prompts().length).toArray())
        : PatchContext.stack(contexts, prompts(requests));
  }

  private static void check(Kind kind, Sources sources, long seed) {
    try (PatchableModel model =
            RandomModels.patchable(SMALL, kind.precision, kind.options(), seed);
        Requests random = new Requests(model, seed)) {
      for (int round = 0; round < ROUNDS; round++) {
        PlanPolicy policy = POLICIES[round % POLICIES.length];
        List<Request> requests = random.next(sources, kind.positions);
        boolean byCount = sources != Sources.RAGGED && random.random.nextBoolean();
        try (StackedContexts stack = stack(requests, byCount)) {
          ModelInput together =
              ModelInput.ofPrompts(stack.join(prompts(requests)), TestDevice.NAME);
          Tensor logits = run(model, together, stack.context(), policy);
          List<Tensor> parts = stack.split(logits);
          assertThat(parts).hasSameSizeAs(requests);
          for (int i = 0; i < parts.size(); i++) {
            Request request = requests.get(i);
            ModelInput alone = ModelInput.ofPrompts(request.prompts(), TestDevice.NAME);
            assertClose(
                "round %s %s request %s of %s".formatted(round, policy, i, requests),
                parts.get(i),
                run(model, alone, request.context(), policy),
                kind.tolerance());
          }
        }
      }
    }
  }

  private static Tensor run(
      PatchableModel model, ModelInput input, PatchContext context, PlanPolicy policy) {
    return model
        .forward(ForwardRequest.of(input).withContext(context).withPlanPolicy(policy))
        .logits();
  }

  @ParameterizedTest
  @MethodSource("kinds")
  void requestsThatShareTheirActivations(Kind kind) {
    check(kind, Sources.SHARED, 1);
  }

  @ParameterizedTest
  @MethodSource("kinds")
  void requestsWithActivationsOfTheirOwn(Kind kind) {
    check(kind, Sources.MIXED, 2);
  }

  @ParameterizedTest
  @MethodSource("kinds")
  void promptsOfDifferentLengths(Kind kind) {
    check(kind, Sources.RAGGED, 3);
  }

  /** Comparisons above would hold for anything if masks or activations did nothing. */
  @ParameterizedTest
  @MethodSource("kinds")
  void circuitsAndAblationsOfOneStackMakeADifference(Kind kind) {
    try (PatchableModel model = RandomModels.patchable(SMALL, kind.precision, kind.options(), 4)) {
      long[][] prompt = RandomModels.prompts(SMALL, 1, SEQ, 1);
      long[][] other = RandomModels.prompts(SMALL, 1, SEQ, 2);
      Masks masks = Masks.of(model.graph(), RandomModels.masks(model.graph(), 1));
      Masks others = Masks.of(model.graph(), RandomModels.masks(model.graph(), 2));
      try (SourceActivations resample = model.sourceAblations(other, BatchAblation.RESAMPLE);
          SourceActivations zero = model.sourceAblations(other, BatchAblation.ZERO);
          StackedContexts stack =
              PatchContext.stack(
                  List.of(
                      PatchContext.of(resample, masks),
                      PatchContext.of(zero, masks),
                      PatchContext.of(zero, others),
                      PatchContext.NONE))) {
        Tensor tokens =
            TensorArrays.of(prompt, "tokens", TestDevice.NAME).expand(4, SEQ).contiguous();
        List<Tensor> parts = stack.split(model.forward(tokens, stack.context()));
        for (int i = 0; i < 4; i++) {
          for (int j = 0; j < i; j++) {
            assertDiffer("logits %s and %s".formatted(i, j), parts.get(i), parts.get(j));
          }
        }
      }
    }
  }
}
