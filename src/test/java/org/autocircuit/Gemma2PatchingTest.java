package org.autocircuit;

import static org.autocircuit.Close.assertClose;
import static org.autocircuit.Close.assertDiffer;

import java.util.Random;
import java.util.stream.Stream;
import org.autocircuit.checkpoint.ModelSamples;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Activation;
import org.autocircuit.model.AttentionScores;
import org.autocircuit.model.Biases;
import org.autocircuit.model.Model;
import org.autocircuit.model.Norm;
import org.autocircuit.model.RotaryPositions;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.pass.PlanPolicy;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The family with the most of its own, patched edge by edge in raw operations. */
@ExtendWith(NativeScope.class)
class Gemma2PatchingTest {

  private static final int BATCH = 2;
  private static final int SEQ = 6;
  private static final double TOLERANCE = 1e-10;

  private static final TransformerConfig CONFIG =
      TransformerConfig.builder()
          .nLayers(3)
          .dModel(12)
          .nHeads(4)
          .nKeyValueHeads(2)
          .dHead(6)
          .dMlp(20)
          .dVocab(17)
          .nCtx(10)
          .norm(Norm.rmsNorm(1e-6).withWeightOffset(1))
          .postNorms(true)
          .rotary(RotaryPositions.halves(6))
          .activation(Activation.GELU_NEW)
          .gatedMlp(true)
          .biases(Biases.NONE)
          .attentionScores(AttentionScores.PLAIN.withScale(0.4).withSoftCap(2).withWindow(3, 2))
          .embedScale(Math.sqrt(12))
          .logitSoftCap(4)
          .build();

  static Stream<PatchableModelOptions> graphs() {
    PatchableModelOptions edges = PatchableModelOptions.defaults().withOutputSlice(OutputSlice.ALL);
    return Stream.of(
        edges,
        edges.withSeqLen(SEQ),
        edges.withUngroupKeyValues(true),
        edges.withFactorized(false),
        edges.withFactorized(false).withSeqLen(SEQ).withUngroupKeyValues(true));
  }

  private final Tensor clean = RandomModels.tokens(CONFIG, BATCH, SEQ, 1);
  private final Tensor corrupt = RandomModels.tokens(CONFIG, BATCH, SEQ, 2);

  /**
   * A pass in raw operations, patched by the given values {@code [n_masks]} or for each example.
   */
  private record Plain(PatchableModel model, PlainPatching patching, Tensor logits) {

    static Plain of(PatchableModel model, Tensor tokens, Tensor patch, Tensor masks) {
      ModelGraph graph = model.graph();
      int inputs = model.options().ungroupKeyValues() ? CONFIG.nHeads() : CONFIG.nKeyValueHeads();
      PlainPatching patching = new PlainPatching(graph, patch, masks);
      Tensor logits = new PlainGemma2(CONFIG, model.weights()).logits(tokens, inputs, patching);
      return new Plain(model, patching, logits);
    }
  }

  private static Tensor tensor(double[] values, long... shape) {
    return TensorArrays.of(values, ScalarType.Double, "cpu", shape);
  }

  @ParameterizedTest
  @MethodSource("graphs")
  void randomMasksAreWhatPatchingEdgeByEdgeGives(PatchableModelOptions options) {
    try (Model whole = ModelSamples.random(CONFIG);
        PatchableModel model = PatchableModel.of(whole, options);
        SourceActivations activations = model.sourceAblations(corrupt, BatchAblation.RESAMPLE)) {
      int size = model.graph().maskSize();
      Tensor none = tensor(new double[size], size);
      Plain unpatched = Plain.of(model, clean, activations.tensor(), none);
      assertClose("clean logits", model.forward(clean), unpatched.logits(), TOLERANCE);
      Plain sources = Plain.of(model, corrupt, activations.tensor(), none);
      for (int src = 0; src < model.graph().srcs().size(); src++) {
        assertClose(
            model.graph().srcs().get(src).name(),
            activations.tensor().select(0, src),
            sources.patching().output(src),
            TOLERANCE);
      }
      for (int seed = 0; seed < 3; seed++) {
        double[] masks = RandomModels.masks(model.graph(), seed);
        Plain plain = Plain.of(model, clean, activations.tensor(), tensor(masks, size));
        assertDiffer("patched and clean logits", plain.logits(), unpatched.logits());
        assertPasses(model, Masks.of(model.graph(), masks), activations, plain);
      }
      double[][] rows = new double[BATCH][];
      double[] flat = new Random(9).doubles((long) BATCH * size).toArray();
      for (int i = 0; i < BATCH; i++) {
        rows[i] = java.util.Arrays.copyOfRange(flat, i * size, (i + 1) * size);
      }
      Plain each = Plain.of(model, clean, activations.tensor(), tensor(flat, BATCH, size));
      assertPasses(model, Masks.perExample(model.graph(), rows), activations, each);
    }
  }

  /** Logits and outputs of sources, by every executor. */
  private void assertPasses(
      PatchableModel model, Masks masks, SourceActivations activations, Plain plain) {
    for (PlanPolicy policy : PlanPolicy.values()) {
      ForwardRequest request =
          ForwardRequest.of(clean)
              .withContext(PatchContext.of(activations, masks))
              .withPlanPolicy(policy)
              .withGrad(false);
      assertClose(policy + ": logits", model.forward(request).logits(), plain.logits(), TOLERANCE);
      Tensor outputs = model.forward(request.withSourceOutputs()).sourceOutputs().orElseThrow();
      for (int src = 0; src < model.graph().srcs().size(); src++) {
        assertClose(
            policy + ": " + model.graph().srcs().get(src).name(),
            outputs.select(0, src),
            plain.patching().output(src),
            TOLERANCE);
      }
    }
  }
}
