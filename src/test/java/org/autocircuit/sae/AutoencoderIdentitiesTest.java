package org.autocircuit.sae;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.autocircuit.Close.assertClose;
import static org.autocircuit.Close.assertDiffer;
import static org.autocircuit.RandomModels.SMALL;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.Random;
import java.util.stream.Stream;
import org.autocircuit.NativeScope;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.PlainGpt2;
import org.autocircuit.PlainPatching;
import org.autocircuit.RandomModels;
import org.autocircuit.TestDevice;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.AutoencoderConfig;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ForwardResult;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Tests what models with random autoencoders must agree with, in double precision. */
@ExtendWith(NativeScope.class)
class AutoencoderIdentitiesTest {

  private static final int BATCH = 3;
  private static final int SEQ = 4;
  private static final int LATENTS = 5;
  private static final double TOLERANCE = 1e-10;

  /** latentsPerPosition is of the autoencoders, masksPerPosition of the graph. */
  record Kind(
      List<Integer> blocks,
      boolean errorNodes,
      boolean latentsPerPosition,
      boolean factorized,
      boolean masksPerPosition) {

    OptionalInt seqLen() {
      return latentsPerPosition ? OptionalInt.of(SEQ) : OptionalInt.empty();
    }

    PatchableModelOptions options() {
      PatchableModelOptions options =
          PatchableModelOptions.defaults()
              .withFactorized(factorized)
              .withOutputSlice(OutputSlice.ALL);
      return masksPerPosition ? options.withSeqLen(SEQ) : options;
    }
  }

  static Stream<Kind> kinds() {
    List<Kind> kinds = new ArrayList<>();
    for (boolean errorNodes : new boolean[] {false, true}) {
      for (boolean latentsPerPosition : new boolean[] {false, true}) {
        kinds.add(new Kind(List.of(0, 1), errorNodes, latentsPerPosition, true, false));
        kinds.add(new Kind(List.of(0, 1), errorNodes, latentsPerPosition, true, true));
        kinds.add(new Kind(List.of(0, 1), errorNodes, latentsPerPosition, false, false));
        kinds.add(new Kind(List.of(1), errorNodes, latentsPerPosition, true, false));
      }
    }
    return kinds.stream();
  }

  private final Tensor clean = RandomModels.tokens(SMALL, BATCH, SEQ, 1);
  private final Tensor corrupt = RandomModels.tokens(SMALL, BATCH, SEQ, 2);
  private Model plain;
  private PatchableModel model;
  private SourceActivations activations;

  private void open(Kind kind) {
    plain = RandomModels.model(SMALL, Precision.FLOAT64, 5);
    Map<String, Tensor> weights =
        AutoencoderModels.weights(
            kind.blocks, SMALL.dModel(), LATENTS, kind.seqLen(), Precision.FLOAT64, 6);
    try (Model sparse = plain.withAutoencoders(weights, kind.errorNodes)) {
      model = PatchableModel.of(sparse, kind.options());
    }
    activations = model.sourceAblations(corrupt, BatchAblation.RESAMPLE);
  }

  @AfterEach
  void close() {
    activations.close();
    model.close();
    plain.close();
  }

  private AutoencoderConfig autoencoders() {
    return ((TransformerConfig) model.config()).autoencoders().orElseThrow();
  }

  private Tensor patched(Masks masks) {
    return model.forward(clean, PatchContext.of(activations, masks));
  }

  /** Logits from single operations. */
  private Tensor plainly(Tensor tokens, PlainGpt2.Visitor nodes) {
    Map<String, Tensor> weights = model.weights();
    return new PlainGpt2(SMALL, weights)
        .logits(tokens, new PlainAutoencoders(autoencoders(), weights, nodes));
  }

  @ParameterizedTest
  @MethodSource("kinds")
  void thePlainPassIsThatOfTheFormulas(Kind kind) {
    open(kind);
    Tensor logits = model.forward(clean);
    assertClose("logits", logits, plainly(clean, (hook, value) -> value), TOLERANCE);
    try (PatchableModel without = PatchableModel.of(plain, kind.options())) {
      if (kind.errorNodes) {
        assertClose("without autoencoders", logits, without.forward(clean), 0);
      } else {
        assertDiffer("with and without autoencoders", logits, without.forward(clean));
      }
    }
  }

  @ParameterizedTest
  @MethodSource("kinds")
  void masksOfZeroAreTheCleanRunAndMasksOfOneThePatchRun(Kind kind) {
    open(kind);
    Tensor corruptLogits = model.forward(corrupt);
    assertDiffer("clean and corrupt logits", model.forward(clean), corruptLogits);
    assertClose("clean", patched(Masks.uniform(model.graph(), 0)), model.forward(clean), TOLERANCE);
    assertClose("corrupt", patched(Masks.uniform(model.graph(), 1)), corruptLogits, TOLERANCE);
  }

  @ParameterizedTest
  @MethodSource("kinds")
  void randomMasksAreWhatPatchingEdgeByEdgeGives(Kind kind) {
    open(kind);
    double[] values = RandomModels.masks(model.graph(), 3);
    Tensor masks =
        TensorArrays.of(values, Precision.FLOAT64.scalarType(), TestDevice.NAME, values.length);
    PlainPatching patching = new PlainPatching(model.graph(), activations.tensor(), masks);
    Tensor expected = plainly(clean, patching);
    ForwardResult result =
        model.forward(
            ForwardRequest.of(clean)
                .withContext(PatchContext.of(activations, Masks.of(model.graph(), values)))
                .withSourceOutputs());
    assertClose("logits", result.logits(), expected, TOLERANCE);
    Tensor outputs = result.sourceOutputs().orElseThrow();
    for (int src = 0; src < model.graph().srcs().size(); src++) {
      assertClose(
          model.graph().srcs().get(src).name(),
          outputs.select(0, src),
          patching.output(src),
          TOLERANCE);
    }
  }

  @ParameterizedTest
  @MethodSource("kinds")
  void sourcesAndConstantsSumToTheResidualStream(Kind kind) {
    open(kind);
    ForwardResult result =
        model.forward(
            ForwardRequest.of(clean)
                .withSourceOutputs()
                .withReads("blocks.1.hook_resid_post", "blocks.1.hook_mlp_out"));
    // In a residual graph nodes of the stream are sources, too: only the last segment counts.
    int start = model.graph().destModule("blocks.1.hook_resid_post").inStart();
    Tensor outputs = result.sourceOutputs().orElseThrow();
    Tensor sum = outputs.narrow(0, start, outputs.size(0) - start).sum(0);
    for (int block = kind.factorized ? 0 : 1; block < SMALL.nLayers(); block++) {
      if (kind.factorized) {
        sum = sum.add(model.weights().get("blocks." + block + ".attn.b_O"));
      }
      if (kind.blocks.contains(block)) {
        sum = sum.add(model.weights().get("blocks." + block + ".hook_mlp_out.bias"));
      }
    }
    assertClose("stream", sum, result.read("blocks.1.hook_resid_post"), TOLERANCE);
    if (kind.errorNodes) {
      try (PatchableModel without = PatchableModel.of(plain, kind.options())) {
        Tensor expected =
            without
                .forward(ForwardRequest.of(clean).withReads("blocks.1.hook_resid_post"))
                .read("blocks.1.hook_resid_post");
        assertClose("stream without autoencoders", sum, expected, TOLERANCE);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("kinds")
  void gradientsAreFiniteDifferences(Kind kind) {
    open(kind);
    AnswerLoss loss =
        AnswerLoss.of(
            GradFunction.LOGPROB,
            AnswerFunction.AVG_DIFF,
            new long[][] {{3}, {1}, {7}},
            new long[][] {{2, 5}, {8, -1}, {4, 0}});
    double[] masks = RandomModels.masks(model.graph(), 3);
    double[] direction = RandomModels.normal(masks.length, 1e-6, new Random(4));
    double[] up = masks.clone();
    double[] down = masks.clone();
    double expected = 0;
    double[] gradient =
        TensorArrays.doubles(
            model
                .maskGradient(
                    clean, PatchContext.of(activations, Masks.of(model.graph(), masks)), loss)
                .gradient());
    for (int i = 0; i < masks.length; i++) {
      up[i] += direction[i];
      down[i] -= direction[i];
      expected += 2 * direction[i] * gradient[i];
    }
    assertThat(lossAt(up, loss) - lossAt(down, loss)).isCloseTo(expected, within(1e-10));
    assertThat(Math.abs(expected)).isGreaterThan(1e-8);
  }

  private double lossAt(double[] masks, AnswerLoss loss) {
    return model
        .maskGradient(clean, PatchContext.of(activations, Masks.of(model.graph(), masks)), loss)
        .loss()
        .item_double();
  }
}
