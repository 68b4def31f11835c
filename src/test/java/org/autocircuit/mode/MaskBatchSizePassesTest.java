package org.autocircuit.mode;

import static org.assertj.core.api.Assertions.assertThat;
import static org.autocircuit.Close.assertClose;

import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.autocircuit.NativeScope;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.RandomModels;
import org.autocircuit.TestDevice;
import org.autocircuit.TestModels;
import org.autocircuit.checkpoint.ModelSamples;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Passes with masks for each example, before, between and after changes of their number. */
@ExtendWith(NativeScope.class)
class MaskBatchSizePassesTest {

  private static final int BATCH = 3;
  private static final int SEQ = 4;

  private static final TransformerConfig GROUPED =
      TestModels.CONFIG.toBuilder().nKeyValueHeads(2).build();

  static Stream<Arguments> functionsAndGraphs() {
    PatchableModelOptions all = PatchableModelOptions.defaults();
    return Arrays.stream(MaskFn.values())
        .flatMap(
            fn ->
                Stream.of(TestModels.CONFIG, GROUPED)
                    .flatMap(
                        config ->
                            Stream.of(
                                    all,
                                    all.withSeqLen(SEQ),
                                    all.withSeparateQkv(false),
                                    all.withFactorized(false),
                                    all.withFactorized(false).withSeqLen(SEQ))
                                .map(options -> Arguments.of(fn, config, options))));
  }

  private static PatchableModel open(TransformerConfig config, PatchableModelOptions options) {
    try (Model model = ModelSamples.random(config)) {
      return PatchableModel.of(model, options);
    }
  }

  /** Holds what goes into the passes of some examples. */
  @SuppressWarnings("ArrayRecordComponent") // nobody compares them
  private record Examples(
      Tensor tokens, SourceActivations activations, double[][] masks, Tensor uniforms) {

    static Examples of(PatchableModel model, int batch, long seed) {
      int size = model.graph().maskSize();
      double[] draws = RandomModels.uniform(batch * size, seed);
      return new Examples(
          TestModels.tokenTensor(batch, SEQ, seed),
          model.sourceAblations(TestModels.tokens(batch, SEQ, seed + 1), BatchAblation.RESAMPLE),
          IntStream.range(0, batch)
              .mapToObj(i -> new Random(seed + 2 + i).doubles(size).toArray())
              .toArray(double[][]::new),
          TensorArrays.of(draws, Precision.FLOAT64.scalarType(), TestDevice.NAME, batch, size));
    }

    Examples only(int i) {
      return new Examples(
          tokens.narrow(0, i, 1),
          SourceActivations.of(activations.tensor().narrow(1, i, 1).contiguous()),
          new double[][] {masks[i]},
          uniforms.narrow(0, i, 1));
    }
  }

  @SuppressWarnings("ArrayRecordComponent") // nobody compares them
  private record Pass(Tensor logits, double[] gradients) {}

  /** A pass with the masks as they stand. */
  private static Pass pass(PatchableModel model, Examples examples, MaskFn fn) {
    Noise noise = fn == MaskFn.HARD_CONCRETE ? Noise.uniforms(examples.uniforms()) : Noise.DEFAULT;
    try (PatchMode mode = model.patchMode(examples.activations());
        TrainMaskMode training = model.trainMaskMode();
        MaskFnMode function = model.maskFnMode(fn, 0, noise)) {
      Tensor logits = model.forward(examples.tokens());
      logits.square().sum().backward();
      return new Pass(logits, model.masks().gradientArray());
    }
  }

  private static void assertSame(String what, Pass actual, Pass expected, double tolerance) {
    assertClose(what + ": logits", actual.logits(), expected.logits(), tolerance);
    assertClose(what + ": gradients", actual.gradients(), expected.gradients(), 100 * tolerance);
  }

  /** Logits and gradients of each example are those of a pass of its own, at every size. */
  @ParameterizedTest
  @MethodSource("functionsAndGraphs")
  void anExampleIsAPassOfItsOwn(
      MaskFn fn, TransformerConfig config, PatchableModelOptions options) {
    try (PatchableModel model = open(config, options)) {
      Examples one = Examples.of(model, 1, 10);
      Examples two = Examples.of(model, 2, 20);
      Examples all = Examples.of(model, BATCH, 40);
      model.masks().set(one.masks()[0]);
      Pass before = pass(model, one, fn);
      Pass ofTwo;
      Pass ofAll;
      try (MaskBatchSize small = model.setMaskBatchSize(2)) {
        model.masks().set(Masks.perExample(model.graph(), two.masks()));
        ofTwo = pass(model, two, fn);
        try (MaskBatchSize large = model.setMaskBatchSize(BATCH)) {
          model.masks().set(Masks.perExample(model.graph(), all.masks()));
          ofAll = pass(model, all, fn);
          assertThat(model.masks().examples()).hasValue(BATCH);
        }
        assertSame("back at two", pass(model, two, fn), ofTwo, 0);
      }
      assertSame("back at one", pass(model, one, fn), before, 0);
      for (int i = 0; i < 2; i++) {
        assertAlone(model, ofTwo, two, i, fn);
      }
      for (int i = 0; i < BATCH; i++) {
        assertAlone(model, ofAll, all, i, fn);
      }
      for (Examples examples : List.of(one, two, all)) {
        examples.activations().close();
      }
    }
  }

  private static void assertAlone(
      PatchableModel model, Pass together, Examples examples, int i, MaskFn fn) {
    int size = model.graph().maskSize();
    Examples only = examples.only(i);
    try (SourceActivations activations = only.activations()) {
      model.masks().set(only.masks()[0]);
      Pass part =
          new Pass(
              together.logits().narrow(0, i, 1),
              Arrays.copyOfRange(together.gradients(), i * size, (i + 1) * size));
      String what = "example %s of %s".formatted(i, examples.masks().length);
      assertSame(what, part, pass(model, only, fn), 1e-12);
    }
  }
}
