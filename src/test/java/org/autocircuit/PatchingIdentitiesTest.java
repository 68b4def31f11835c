package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.autocircuit.Close.assertClose;
import static org.autocircuit.Close.assertDiffer;
import static org.autocircuit.RandomModels.SMALL;

import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.Stream;
import org.autocircuit.graph.DestModule;
import org.autocircuit.graph.Edge;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ForwardResult;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.pass.PlanPolicy;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.PatchType;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Tests what patched passes of random models must agree with, whatever the weights. */
@ExtendWith(NativeScope.class)
class PatchingIdentitiesTest {

  private static final int BATCH = 3;
  private static final int SEQ = 4;

  record Kind(Precision precision, boolean factorized, boolean separateQkv, boolean positions) {

    PatchableModelOptions options() {
      PatchableModelOptions options =
          PatchableModelOptions.defaults()
              .withFactorized(factorized)
              .withSeparateQkv(separateQkv)
              .withOutputSlice(OutputSlice.ALL);
      return positions ? options.withSeqLen(SEQ) : options;
    }

    double tolerance() {
      return precision == Precision.FLOAT64 ? 1e-10 : 1e-4;
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

  /** A model with a clean and a corrupt batch and the corrupt batch's activations. */
  private static final class Setup implements AutoCloseable {

    final Kind kind;
    final PatchableModel model;
    final Tensor clean = RandomModels.tokens(SMALL, BATCH, SEQ, 1);
    final Tensor corrupt = RandomModels.tokens(SMALL, BATCH, SEQ, 2);
    final SourceActivations activations;

    Setup(Kind kind) {
      this.kind = kind;
      model = RandomModels.patchable(SMALL, kind.precision, kind.options(), 5);
      activations = model.sourceAblations(corrupt, BatchAblation.RESAMPLE);
    }

    Tensor patched(Masks masks) {
      return model.forward(clean, PatchContext.of(activations, masks));
    }

    Tensor plainlyPatched(double[] values, long... shape) {
      Tensor masks = TensorArrays.of(values, kind.precision.scalarType(), TestDevice.NAME, shape);
      return new PlainGpt2(SMALL, model.weights())
          .logits(clean, new PlainPatching(model.graph(), activations.tensor(), masks));
    }

    @Override
    public void close() {
      activations.close();
      model.close();
    }
  }

  @ParameterizedTest
  @MethodSource("kinds")
  void masksOfZeroAreTheCleanRunAndMasksOfOneThePatchRun(Kind kind) {
    try (Setup s = new Setup(kind)) {
      Tensor clean = s.model.forward(s.clean);
      Tensor corrupt = s.model.forward(s.corrupt);
      assertDiffer("clean and corrupt logits", clean, corrupt);
      assertClose("clean", s.patched(Masks.uniform(s.model.graph(), 0)), clean, kind.tolerance());
      assertClose(
          "corrupt", s.patched(Masks.uniform(s.model.graph(), 1)), corrupt, kind.tolerance());
    }
  }

  @ParameterizedTest
  @MethodSource("kinds")
  void randomMasksAreWhatPatchingEdgeByEdgeGives(Kind kind) {
    try (Setup s = new Setup(kind)) {
      int size = s.model.graph().maskSize();
      for (int seed = 0; seed < 3; seed++) {
        double[] masks = RandomModels.masks(s.model.graph(), seed);
        Tensor actual = s.patched(Masks.of(s.model.graph(), masks));
        assertClose("logits", actual, s.plainlyPatched(masks, size), kind.tolerance());
        assertDiffer("patched and clean logits", actual, s.model.forward(s.clean));
      }
    }
  }

  @ParameterizedTest
  @MethodSource("kinds")
  void masksOfEachExampleAreWhatPatchingEdgeByEdgeGives(Kind kind) {
    try (Setup s = new Setup(kind)) {
      int size = s.model.graph().maskSize();
      double[][] masks = new double[BATCH][];
      double[] flat = new double[BATCH * size];
      for (int i = 0; i < BATCH; i++) {
        masks[i] = RandomModels.masks(s.model.graph(), 10 + i);
        for (int j = 0; j < size; j++) {
          flat[i * size + j] = 1 / (1 + Math.exp(-masks[i][j]));
        }
      }
      PatchContext context =
          PatchContext.builder(s.activations, Masks.perExample(s.model.graph(), masks))
              .maskFn(MaskFn.SIGMOID)
              .build();
      assertClose(
          "logits",
          s.model.forward(s.clean, context),
          s.plainlyPatched(flat, BATCH, size),
          kind.tolerance());
    }
  }

  @ParameterizedTest
  @MethodSource("kinds")
  void oneEdgePatchedAlone(Kind kind) {
    try (Setup s = new Setup(kind)) {
      Random random = new Random(3);
      int size = s.model.graph().maskSize();
      for (int trial = 0; trial < 6; trial++) {
        Edge edge = s.model.graph().edge(random.nextInt(size));
        double[] only = new double[size];
        only[s.model.graph().index(edge)] = 1;
        Tensor effect =
            s.patched(Masks.ofEdges(s.model.graph(), List.of(edge))).sub(s.model.forward(s.clean));
        Tensor expected =
            s.plainlyPatched(only, size)
                .sub(new PlainGpt2(SMALL, s.model.weights()).logits(s.clean));
        assertClose("effect of " + edge.name(), effect, expected, kind.tolerance());
      }
    }
  }

  @ParameterizedTest
  @MethodSource("kinds")
  void sourceOutputsOfAPatchedRun(Kind kind) {
    try (Setup s = new Setup(kind)) {
      double[] values = RandomModels.masks(s.model.graph(), 4);
      Tensor masks =
          TensorArrays.of(values, kind.precision.scalarType(), TestDevice.NAME, values.length);
      PlainPatching plain = new PlainPatching(s.model.graph(), s.activations.tensor(), masks);
      new PlainGpt2(SMALL, s.model.weights()).logits(s.clean, plain);
      Tensor outputs =
          s.model
              .forward(
                  ForwardRequest.of(s.clean)
                      .withContext(
                          PatchContext.of(s.activations, Masks.of(s.model.graph(), values)))
                      .withSourceOutputs())
              .sourceOutputs()
              .orElseThrow();
      for (int src = 0; src < s.model.graph().srcs().size(); src++) {
        assertClose(
            "output of " + s.model.graph().srcs().get(src).name(),
            outputs.select(0, src),
            plain.output(src),
            kind.tolerance());
      }
    }
  }

  @ParameterizedTest
  @MethodSource("kinds")
  void slicedLogitsArePartOfAllLogits(Kind kind) {
    try (Setup s = new Setup(kind)) {
      PatchContext context =
          PatchContext.of(
              s.activations, Masks.of(s.model.graph(), RandomModels.masks(s.model.graph(), 6)));
      for (PatchContext each : List.of(PatchContext.NONE, context)) {
        ForwardRequest request = ForwardRequest.of(s.clean).withContext(each);
        Tensor all = s.model.forward(request.withOutputSlice(OutputSlice.ALL)).logits();
        assertClose(
            "last",
            s.model.forward(request.withOutputSlice(OutputSlice.LAST_SEQ)).logits(),
            all.select(1, -1),
            kind.tolerance());
        assertClose(
            "not first",
            s.model.forward(request.withOutputSlice(OutputSlice.NOT_FIRST_SEQ)).logits(),
            all.narrow(1, 1, SEQ - 1),
            kind.tolerance());
      }
    }
  }

  @ParameterizedTest
  @MethodSource("kinds")
  void startingAtABlockIsTheWholeRun(Kind kind) {
    try (Setup s = new Setup(kind)) {
      // Nothing is patched before block 1, so its clean residual stream is the patched run's, too.
      double[] values = RandomModels.masks(s.model.graph(), 8);
      for (DestModule module : s.model.graph().destModules()) {
        if (module.moduleName().startsWith("blocks.0.")) {
          Arrays.fill(values, module.offset(), module.end(), 0);
        }
      }
      PatchContext context = PatchContext.of(s.activations, Masks.of(s.model.graph(), values));
      ForwardResult clean =
          s.model.forward(
              ForwardRequest.of(s.clean).withSourceOutputs().withReads("blocks.1.hook_resid_pre"));
      ForwardRequest late = ForwardRequest.startingAt(1, clean.read("blocks.1.hook_resid_pre"));
      assertClose("plain", s.model.forward(late).logits(), clean.logits(), kind.tolerance());
      ForwardResult whole =
          s.model.forward(ForwardRequest.of(s.clean).withContext(context).withSourceOutputs());
      ForwardResult part =
          s.model.forward(
              late.withContext(context)
                  .withStartSourceOutputs(clean.sourceOutputs().orElseThrow())
                  .withSourceOutputs());
      assertClose("patched", part.logits(), whole.logits(), kind.tolerance());
      assertClose(
          "source outputs",
          part.sourceOutputs().orElseThrow(),
          whole.sourceOutputs().orElseThrow(),
          kind.tolerance());
      assertDiffer("patched and clean logits", whole.logits(), clean.logits());
    }
  }

  /**
   * With patches everywhere: the stream that enters block 0 is the embedding, which none reaches.
   */
  @ParameterizedTest
  @MethodSource("kinds")
  void startingAtBlock0FromTheStreamOfTokensIsThePassFromTheTokens(Kind kind) {
    try (Setup s = new Setup(kind)) {
      Tensor stream =
          s.model
              .forward(ForwardRequest.of(s.clean).withReads("blocks.0.hook_resid_pre"))
              .read("blocks.0.hook_resid_pre");
      List<Masks> circuits =
          List.of(
              Masks.of(s.model.graph(), RandomModels.masks(s.model.graph(), 8)),
              Masks.uniform(s.model.graph(), 1),
              Masks.of(TestModels.circuit(s.model.graph(), 0.2, 9), PatchType.TREE_PATCH));
      for (Masks masks : circuits) {
        PatchContext context = PatchContext.of(s.activations, masks);
        for (PlanPolicy policy : PlanPolicy.values()) {
          ForwardRequest tokens = ForwardRequest.of(s.clean).withPlanPolicy(policy);
          ForwardRequest start = ForwardRequest.startingAt(0, stream).withPlanPolicy(policy);
          assertClose("plain", s.model.forward(start).logits(), s.model.forward(s.clean), 0);
          Tensor expected = s.model.forward(tokens.withContext(context)).logits();
          Tensor actual = s.model.forward(start.withContext(context)).logits();
          assertClose(policy + " patched", actual, expected, 0);
          ForwardResult whole = s.model.forward(tokens.withContext(context).withSourceOutputs());
          ForwardResult part =
              s.model.forward(
                  start
                      .withContext(context)
                      .withStartSourceOutputs(s.activations.tensor()) // none is before
                      .withSourceOutputs());
          assertClose(policy + " patched", part.logits(), whole.logits(), 0);
          assertClose(
              policy + " source outputs",
              part.sourceOutputs().orElseThrow(),
              whole.sourceOutputs().orElseThrow(),
              0);
        }
      }
    }
  }

  @Test
  void sourcesAndAttentionBiasesAddUpToTheResidualStream() {
    Kind kind = new Kind(Precision.FLOAT64, true, true, false);
    try (Setup s = new Setup(kind)) {
      ForwardResult result =
          s.model.forward(
              ForwardRequest.of(s.clean)
                  .withSourceOutputs()
                  .withReads(
                      "blocks.0.hook_resid_pre",
                      "blocks.0.hook_resid_mid",
                      "blocks.0.hook_resid_post",
                      "blocks.1.hook_resid_mid",
                      "blocks.1.hook_resid_post"));
      Tensor outputs = result.sourceOutputs().orElseThrow();
      Map<String, Tensor> weights = s.model.weights();
      int heads = SMALL.nHeads();
      Tensor sum = outputs.select(0, 0);
      assertClose("start", result.read("blocks.0.hook_resid_pre"), sum, 1e-10);
      int next = 1;
      for (int block = 0; block < 2; block++) {
        String b = "blocks." + block + ".";
        sum = sum.add(outputs.narrow(0, next, heads).sum(0)).add(weights.get(b + "attn.b_O"));
        assertClose(b + "mid", result.read(b + "hook_resid_mid"), sum, 1e-10);
        sum = sum.add(outputs.select(0, next + heads));
        assertClose(b + "post", result.read(b + "hook_resid_post"), sum, 1e-10);
        next += heads + 1;
      }
      assertThat(next).isEqualTo(outputs.size(0));
    }
  }

  @Test
  void jointInputsAreSeparateOnesWithEqualMasks() {
    try (Setup joint = new Setup(new Kind(Precision.FLOAT64, true, false, true));
        Setup separate = new Setup(new Kind(Precision.FLOAT64, true, true, true))) {
      double[] values = RandomModels.masks(joint.model.graph(), 9);
      double[] same = new double[separate.model.graph().maskSize()];
      for (DestModule module : separate.model.graph().destModules()) {
        String name = module.moduleName().replaceAll("hook_[qkv]_input", "hook_attn_in");
        DestModule from = joint.model.graph().destModule(name);
        System.arraycopy(values, from.offset(), same, module.offset(), module.size());
      }
      assertClose(
          "logits",
          joint.patched(Masks.of(joint.model.graph(), values)),
          separate.patched(Masks.of(separate.model.graph(), same)),
          1e-10);
    }
  }

  @Test
  void singleAndDoublePrecisionAgree() {
    try (Setup single = new Setup(new Kind(Precision.FLOAT32, true, true, false));
        Setup precise = new Setup(new Kind(Precision.FLOAT64, true, true, false))) {
      double[] values = RandomModels.masks(single.model.graph(), 11);
      assertClose(
          "logits",
          TensorArrays.doubles(single.patched(Masks.of(single.model.graph(), values))),
          TensorArrays.doubles(precise.patched(Masks.of(precise.model.graph(), values))),
          2e-4);
    }
  }

  @Test
  void oneRowOfActivationsServesEveryPrompt() {
    try (Setup s = new Setup(new Kind(Precision.FLOAT64, true, true, false))) {
      Tensor row = s.activations.tensor().narrow(1, 1, 1).contiguous();
      Tensor all = row.expand(row.size(0), BATCH, SEQ, row.size(3)).contiguous();
      Masks masks = Masks.of(s.model.graph(), RandomModels.masks(s.model.graph(), 12));
      try (SourceActivations shared = SourceActivations.of(row);
          SourceActivations copied = SourceActivations.of(all)) {
        assertClose(
            "logits",
            s.model.forward(s.clean, PatchContext.of(shared, masks)),
            s.model.forward(s.clean, PatchContext.of(copied, masks)),
            0);
      }
    }
  }
}
