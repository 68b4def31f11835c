package org.autocircuit.prune;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import java.util.List;
import java.util.Map;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.TestDevice;
import org.autocircuit.TestModels;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.eval.CircuitMeasures;
import org.autocircuit.eval.CircuitRuns;
import org.autocircuit.exception.NotFiniteException;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.PatchType;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Algorithms end where logits are not finite, and say what may help. */
class NotFiniteTest {

  private final PromptPairBatch batch = TestModels.batch(3, 4, 10);

  /** Logits are far above 65,504, the greatest number of 16 bits, or NaN. */
  @ParameterizedTest
  @CsvSource({
    "FLOAT16, 60000, (overflow in FLOAT16? try BFLOAT16 or FLOAT32)",
    "BFLOAT16, NaN, '(are the weights finite? if they are, try FLOAT32)'",
    "FLOAT32, NaN, '(are the weights finite? if they are, try FLOAT64)'",
    "FLOAT64, Infinity, (are the weights finite?)"
  })
  void algorithmsEndWithAdvice(Precision precision, double scale, String advice) {
    String message = "logits are not finite " + advice;
    try (PatchableModel model = model(precision, scale)) {
      algorithms(model).forEach((name, call) -> assertRefused(name, call, message));
    }
  }

  @Test
  void finiteLogitsAreFine() throws Throwable {
    try (PatchableModel model = model(Precision.FLOAT16, 1)) {
      for (ThrowingCallable call : algorithms(model).values()) {
        call.call();
      }
    }
  }

  /** Only patched runs give it: one activation is infinite. */
  @Test
  void patchedRunsAreLookedAtToo() {
    try (PatchableModel model = model(Precision.FLOAT32, 1);
        PointerScope scope = new PointerScope();
        SourceActivations corrupt =
            model.sourceAblations(batch.corrupt(), BatchAblation.RESAMPLE)) {
      Tensor infinite = corrupt.tensor().clone();
      infinite.select(0, 3).fill_(new Scalar(Double.POSITIVE_INFINITY));
      ModelInput clean = ModelInput.ofPrompts(batch.clean(), TestDevice.NAME);
      try (SourceActivations activations = SourceActivations.of(infinite);
          MaskTraining probing = SubnetworkProbing.builder().build().begin(model, activations)) {
        for (boolean sequential : new boolean[] {false, true}) {
          Acdc.Builder acdc = Acdc.builder();
          Acdc search = (sequential ? acdc.sequential() : acdc).build();
          assertRefused("ACDC", () -> search.search(model, clean, activations), "logits");
        }
        double[] masks = probing.masks().toArray();
        assertRefused("probing", () -> probing.step(batch), "are not finite");
        assertThat(probing.masks().toArray()).isEqualTo(masks);
      }
    }
  }

  /** Finite logits of clean prompts, corrupt ones with a token whose embedding is infinite. */
  @ParameterizedTest
  @CsvSource({
    "FLOAT16, (overflow in FLOAT16? try BFLOAT16 or FLOAT32)",
    "FLOAT32, '(are the weights finite? if they are, try FLOAT64)'"
  })
  void activationsAreLookedAtToo(Precision precision, String advice) {
    try (Model weights = TestModels.transformer(precision, false, 1);
        PatchableModel model = PatchableModel.of(weights, PatchableModelOptions.defaults());
        PointerScope scope = new PointerScope()) {
      long infinite = TestModels.CONFIG.dVocab() - 1L;
      model
          .weights()
          .get("embed.W_E")
          .select(0, infinite)
          .fill_(new Scalar(Double.POSITIVE_INFINITY));
      PromptPairBatch pairs =
          TestModels.batch(
              new long[][] {{1, 2, 3}, {3, 4, 6}}, new long[][] {{1, 2, infinite}, {3, 4, 5}}, 1);
      for (BatchAblation type :
          List.of(BatchAblation.RESAMPLE, BatchAblation.BATCH_TOKENWISE_MEAN)) {
        for (MaskGradient.Builder gradient :
            List.of(
                MaskGradient.builder(),
                MaskGradient.builder().memoryLimit(1 << 30),
                MaskGradient.builder().maskValue(0))) {
          assertRefused(
              "gradients by " + type,
              () -> gradient.ablation(type).build().pruneScores(model, List.of(pairs)),
              "scores are not finite " + advice);
        }
      }
      DatasetAblation mean = DatasetAblation.TOKENWISE_MEAN_CORRUPT;
      String message = "mean activations are not finite " + advice;
      assertRefused("mean", () -> model.sourceAblations(List.of(pairs), mean).close(), message);
      assertRefused(
          "exact patching by means",
          () ->
              EdgeActivationPatching.builder()
                  .ablation(mean)
                  .build()
                  .pruneScores(model, List.of(pairs)),
          message);
    }
  }

  /** A loss that is not finite though logits are, since its target is not. */
  @Test
  void lossesAreLookedAtToo() {
    try (PatchableModel model = model(Precision.FLOAT32, 1);
        PointerScope scope = new PointerScope();
        SourceActivations corrupt =
            model.sourceAblations(batch.corrupt(), BatchAblation.RESAMPLE)) {
      Tensor targets =
          torch.full(new long[] {3, TestModels.CONFIG.dVocab()}, new Scalar(Double.NaN));
      AnswerLoss loss = AnswerLoss.mse(GradFunction.LOGIT, targets);
      assertRefused(
          "gradients",
          () ->
              MaskGradient.builder()
                  .targets(prompts -> targets)
                  .build()
                  .pruneScores(model, List.of(batch)),
          "scores are not finite (are the weights finite?");
      EdgeActivationPatching patching =
          EdgeActivationPatching.builder().edges(List.of(model.graph().edge(5))).build();
      assertRefused(
          "single edges",
          () ->
              patching.pruneScores(
                  model, ModelInput.ofPrompts(batch.clean(), TestDevice.NAME), corrupt, loss),
          "losses are not finite (are the weights finite?");
    }
  }

  /** A loss of 0 without a finite slope, as that of a square root at 0. */
  @Test
  void gradientsThatAreNotFiniteDoNotReachTheMasks() {
    try (PatchableModel model = model(Precision.FLOAT32, 1);
        SourceActivations corrupt = model.sourceAblations(batch.corrupt(), BatchAblation.RESAMPLE);
        MaskTraining probing = SubnetworkProbing.builder().build().begin(model, corrupt);
        PointerScope scope = new PointerScope()) {
      double[] masks = probing.masks().toArray();
      ModelInput clean = ModelInput.ofPrompts(batch.clean(), TestDevice.NAME);
      assertRefused(
          "probing",
          () -> probing.step(clean, logits -> logits.sub(logits.detach()).square().sum().sqrt()),
          "gradients of masks are not finite");
      assertThat(probing.masks().toArray()).isEqualTo(masks);
      assertThat(probing.steps()).isZero();
      probing.step(batch);
      assertThat(probing.masks().toArray()).isNotEqualTo(masks).doesNotContain(Double.NaN);
    }
  }

  private Map<String, ThrowingCallable> algorithms(PatchableModel model) {
    List<PromptPairBatch> batches = List.of(batch);
    CircuitRuns circuits =
        CircuitRuns.builder(RandomPruneScores.of(model.graph(), 1))
            .sizes(List.of(5))
            .patchType(PatchType.TREE_PATCH)
            .build();
    return Map.of(
        "gradients", () -> MaskGradient.builder().build().pruneScores(model, batches),
        "limited gradients",
            () -> MaskGradient.builder().memoryLimit(1 << 30).build().pruneScores(model, batches),
        "single edges",
            () ->
                EdgeActivationPatching.builder()
                    .edges(List.of(model.graph().edge(5)))
                    .build()
                    .pruneScores(model, batches),
        "ACDC", () -> Acdc.builder().thresholds(0.1).build().search(model, batch),
        "probing", () -> probe(model),
        "circuits", () -> circuits.run(model, batches),
        "measures", () -> circuits.measure(model, batches),
        "the model's measures", () -> CircuitMeasures.ofModel(model, batches));
  }

  private void probe(PatchableModel model) {
    try (SourceActivations corrupt =
            model.sourceAblations(batch.corrupt(), BatchAblation.RESAMPLE);
        MaskTraining probing = SubnetworkProbing.builder().build().begin(model, corrupt)) {
      probing.step(batch);
    }
  }

  private static PatchableModel model(Precision precision, double scale) {
    PatchableModel model = TestModels.patchable(precision, PatchableModelOptions.defaults());
    try (PointerScope scope = new PointerScope()) {
      model.weights().get("ln_final.w").fill_(new Scalar(scale));
    }
    return model;
  }

  private static void assertRefused(String name, ThrowingCallable call, String message) {
    assertThatExceptionOfType(NotFiniteException.class)
        .as(name)
        .isThrownBy(call)
        .withMessageContaining(message);
  }
}
