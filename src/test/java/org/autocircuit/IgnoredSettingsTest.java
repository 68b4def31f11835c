package org.autocircuit;

import java.util.List;
import java.util.stream.Stream;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.data.PromptBatches;
import org.autocircuit.eval.CircuitRuns;
import org.autocircuit.mode.MaskFnMode;
import org.autocircuit.mode.PatchMode;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.PatchWrapper.Mask;
import org.autocircuit.prune.Acdc;
import org.autocircuit.prune.CleanCorrupt;
import org.autocircuit.prune.EdgeActivationPatching;
import org.autocircuit.prune.FaithfulnessTarget;
import org.autocircuit.prune.MaskGradient;
import org.autocircuit.prune.MaskTraining;
import org.autocircuit.prune.RandomPruneScores;
import org.autocircuit.prune.SubnetworkProbing;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** A setting that a call would ignore is refused. */
class IgnoredSettingsTest {

  private final MisuseTable table = new MisuseTable();

  private static PatchContext withStart(MisuseTable.Subject s) {
    return s.context.toBuilder().startSourceOutputs(s.activations).build();
  }

  private static Tensor uniforms(MisuseTable.Subject s) {
    return s.floats(2, s.graph.maskSize());
  }

  @TestFactory
  Stream<DynamicTest> whatNothingWouldReadIsRefused() {
    startSourceOutputs();
    noise();
    patchInput();
    callsThatBringTheirOwn();
    probing();
    table.illegal(
        "a tolerance of tests that are whole runs",
        s -> Acdc.builder().sequential().tolerance(0.1).build(),
        "tolerance");
    table.illegal(
        "padding of prompts that are equally long",
        s -> PromptBatches.Options.ofSize(2).withPadding().withGroupByLength(),
        "groupByLength",
        "pad");
    return table.tests();
  }

  private void startSourceOutputs() {
    String[] message = {"start source outputs", "expected none"};
    table.illegal(
        "start source outputs of a request from the tokens",
        s ->
            s.model.forward(
                ForwardRequest.of(s.tokens)
                    .withContext(s.context)
                    .withStartSourceOutputs(s.activations.tensor())),
        message);
    table.illegal(
        "start source outputs of a context, from the tokens",
        s -> s.model.forward(s.tokens, withStart(s)),
        message);
    table.illegal(
        "start source outputs of a mode, from the tokens",
        s -> {
          try (PatchMode mode = s.model.patchMode(s.activations, s.masks, s.activations)) {
            s.model.forward(s.tokens);
          }
        },
        message);
    table.illegal(
        "start source outputs of a gradient",
        s ->
            s.model.maskGradient(
                s.tokens, withStart(s), s.loss(new long[][] {{1}, {2}}, new long[][] {{3}, {4}})),
        message);
    table.illegal(
        "start source outputs of an incremental run",
        s -> s.model.incrementalRun(ModelInput.of(s.tokens), withStart(s)).close(),
        message);
  }

  private void noise() {
    table.illegal(
        "a seed without a function that samples",
        s -> s.context.toBuilder().noise(Noise.seeded(1, 2)).build(),
        "noise",
        "NONE");
    table.illegal(
        "uniforms without a function that samples",
        s ->
            s.context.toBuilder().maskFn(MaskFn.SIGMOID).noise(Noise.uniforms(uniforms(s))).build(),
        "noise",
        "SIGMOID");
    table.illegal(
        "uniforms for dropout, which has its own",
        s -> s.context.toBuilder().dropout(0.5).noise(Noise.uniforms(uniforms(s))).build(),
        "noise",
        "0.5");
    table.illegal(
        "noise of a mode without samples",
        s -> {
          try (MaskFnMode mode = s.model.maskFnMode(MaskFn.SIGMOID, 0, Noise.seeded(1, 2))) {
            throw new AssertionError(mode);
          }
        },
        "noise");
    table.illegal(
        "noise of a mask without samples",
        s -> Mask.of(s.floats(3), false, false).withNoise(Noise.seeded(1, 2)),
        "noise");
  }

  private void patchInput() {
    for (Ablation type : Ablation.values()) {
      if (type instanceof DatasetAblation || type == BatchAblation.ZERO) {
        String[] message = {"patchInput", type.name()};
        table.illegal(
            "prompts for gradients with the ablation " + type,
            s -> MaskGradient.builder().patchInput(CleanCorrupt.CLEAN).ablation(type).build(),
            message);
        table.illegal(
            "prompts for single edges with the ablation " + type,
            s ->
                EdgeActivationPatching.builder()
                    .ablation(type)
                    .patchInput(CleanCorrupt.CORRUPT)
                    .build(),
            message);
      }
    }
  }

  private void callsThatBringTheirOwn() {
    table.illegal(
        "a loss beside that of the call",
        s -> scores(s, EdgeActivationPatching.builder().loss(FaithfulnessTarget.KL_DIV)),
        "loss",
        "the call brings a loss");
    table.illegal(
        "an answer function beside the loss of the call",
        s ->
            scores(
                s,
                EdgeActivationPatching.builder().loss(GradFunction.PROB, AnswerFunction.AVG_VAL)),
        "loss",
        "the call brings a loss");
    table.illegal(
        "an ablation beside the activations of the call",
        s -> scores(s, EdgeActivationPatching.builder().ablation(BatchAblation.RESAMPLE)),
        "ablation",
        "the call brings the activations");
    table.illegal(
        "prompts beside the activations of the call",
        s -> scores(s, EdgeActivationPatching.builder().patchInput(CleanCorrupt.CORRUPT)),
        "patchInput",
        "the call brings the activations");
    table.illegal(
        "an ablation of circuits beside the activations of the call",
        s -> run(s, circuits(s).ablation(BatchAblation.ZERO)),
        "ablation",
        "the call brings the activations");
    table.illegal(
        "a reversal beside the input of the call",
        s -> run(s, circuits(s).reverseCleanCorrupt(true)),
        "reverseCleanCorrupt",
        "the call brings input");
  }

  private static void scores(MisuseTable.Subject s, EdgeActivationPatching.Builder builder) {
    builder
        .build()
        .pruneScores(
            s.model,
            ModelInput.of(s.tokens),
            s.activations,
            s.loss(new long[][] {{1}, {2}}, new long[][] {{3}, {4}}));
  }

  private static CircuitRuns.Builder circuits(MisuseTable.Subject s) {
    return CircuitRuns.builder(RandomPruneScores.of(s.graph, 1)).sizes(List.of(3));
  }

  private static void run(MisuseTable.Subject s, CircuitRuns.Builder builder) {
    builder.build().run(s.model, s.tokens, s.activations);
  }

  private void probing() {
    table.illegal(
        "a faithfulness target beside the loss of a step",
        s -> step(s, SubnetworkProbing.builder().faithfulnessTarget(FaithfulnessTarget.MSE)),
        "faithfulnessTarget",
        "the step brings a loss");
    table.illegal(
        "memory for targets beside the loss of a step",
        s -> step(s, SubnetworkProbing.builder().targetMemory(1000)),
        "targetMemory",
        "the step brings a loss");
    table.illegal(
        "a seed beside the noise of a step",
        s -> step(s, SubnetworkProbing.builder().seed(1)),
        "seed",
        "the step brings noise");
    table.illegal(
        "a seed of probing without samples",
        s -> step(s, SubnetworkProbing.builder().seed(1).maskFn(MaskFn.SIGMOID)),
        "seed",
        "SIGMOID");
  }

  private static void step(MisuseTable.Subject s, SubnetworkProbing.Builder builder) {
    try (MaskTraining probing = builder.build().begin(s.model, s.activations)) {
      Noise noise = Noise.seeded(3, 4);
      probing.step(ModelInput.of(s.tokens), Tensor::sum, noise, noise);
    }
  }
}
