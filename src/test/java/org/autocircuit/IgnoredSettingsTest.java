package org.autocircuit;

import java.util.stream.Stream;
import org.autocircuit.PatchWrapper.Mask;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.MaskFnMode;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.PatchMode;
import org.autocircuit.prune.Acdc;
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
    table.illegal(
        "a tolerance of tests that are whole runs",
        s -> Acdc.builder().sequential().tolerance(0.1).build(),
        "tolerance");
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
        s -> IncrementalRun.begin(s.model, ModelInput.of(s.tokens), withStart(s)).close(),
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
        s -> new Mask(s.floats(3), false, false, MaskFn.NONE, 0, Noise.seeded(1, 2)),
        "noise");
  }
}
