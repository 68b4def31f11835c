package org.autocircuit.attribution;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.autocircuit.Close.assertClose;
import static org.autocircuit.RandomModels.SMALL;

import java.util.Arrays;
import java.util.Random;
import java.util.stream.Stream;
import org.autocircuit.NativeScope;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.PlainGpt2;
import org.autocircuit.PlainPatching;
import org.autocircuit.RandomModels;
import org.autocircuit.TestDevice;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.mode.MaskFnMode;
import org.autocircuit.mode.PatchMode;
import org.autocircuit.mode.TrainMaskMode;
import org.autocircuit.model.Precision;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.MaskParameters;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Gradients with respect to masks, in double precision, against differences and plain autograd. */
@ExtendWith(NativeScope.class)
class GradientIdentitiesTest {

  private static final int BATCH = 3;
  private static final int SEQ = 4;
  private static final AnswerLoss LOSS =
      AnswerLoss.of(
          GradFunction.LOGPROB,
          AnswerFunction.AVG_DIFF,
          new long[][] {{3}, {1}, {7}},
          new long[][] {{2, 5}, {8, -1}, {4, 0}});

  record Kind(boolean factorized, boolean separateQkv, boolean positions, MaskFn maskFn) {

    PatchableModelOptions options() {
      PatchableModelOptions options =
          PatchableModelOptions.defaults().withFactorized(factorized).withSeparateQkv(separateQkv);
      return positions ? options.withSeqLen(SEQ) : options;
    }
  }

  static Stream<Kind> kinds() {
    return Stream.of(MaskFn.values())
        .flatMap(
            fn ->
                Stream.of(
                    new Kind(true, true, false, fn),
                    new Kind(true, true, true, fn),
                    new Kind(true, false, true, fn),
                    new Kind(false, true, false, fn),
                    new Kind(false, true, true, fn)));
  }

  /** Hard-concrete samples are compared in PatchWrapperLoopTest and with the golden data. */
  static Stream<Kind> kindsWithoutNoise() {
    return kinds().filter(kind -> kind.maskFn != MaskFn.HARD_CONCRETE);
  }

  private final Tensor clean = RandomModels.tokens(SMALL, BATCH, SEQ, 1);
  private final Tensor corrupt = RandomModels.tokens(SMALL, BATCH, SEQ, 2);
  private PatchableModel model;
  private SourceActivations activations;

  private ModelGraph open(PatchableModelOptions options) {
    model = RandomModels.patchable(SMALL, Precision.FLOAT64, options, 5);
    activations = model.sourceAblations(corrupt, BatchAblation.RESAMPLE);
    return model.graph();
  }

  @AfterEach
  void close() {
    activations.close();
    model.close();
    clean.close();
    corrupt.close();
  }

  private double lossAt(double[] masks, MaskFn maskFn, Noise noise) {
    try (PointerScope scope = new PointerScope()) {
      PatchContext context =
          PatchContext.builder(activations, Masks.of(model.graph(), masks))
              .maskFn(maskFn)
              .noise(noise)
              .build();
      return model.maskGradient(clean, context, LOSS).loss().item_double();
    }
  }

  @ParameterizedTest
  @MethodSource("kinds")
  void gradientsAreFiniteDifferences(Kind kind) {
    ModelGraph graph = open(kind.options());
    Noise noise = kind.maskFn == MaskFn.HARD_CONCRETE ? Noise.seeded(17, 4) : Noise.DEFAULT;
    // Away from the cut of hard-concrete samples, where differences straddle a kink.
    double[] masks = Arrays.stream(RandomModels.masks(graph, 3)).map(m -> m / 2).toArray();
    PatchContext context =
        PatchContext.builder(activations, Masks.of(graph, masks))
            .maskFn(kind.maskFn)
            .noise(noise)
            .build();
    double[] gradient = TensorArrays.doubles(model.maskGradient(clean, context, LOSS).gradient());
    double step = 1e-6;
    Random random = new Random(1);
    for (int trial = 0; trial < 8; trial++) {
      int edge = random.nextInt(graph.maskSize());
      double[] up = masks.clone();
      double[] down = masks.clone();
      up[edge] += step;
      down[edge] -= step;
      double difference =
          (lossAt(up, kind.maskFn, noise) - lossAt(down, kind.maskFn, noise)) / (2 * step);
      assertThat(gradient[edge])
          .as("%s, %s", kind, graph.edge(edge))
          .isCloseTo(difference, within(1e-7));
    }
    double[] direction = RandomModels.normal(graph.maskSize(), step, random);
    double[] up = masks.clone();
    double[] down = masks.clone();
    double expected = 0;
    for (int i = 0; i < up.length; i++) {
      up[i] += direction[i];
      down[i] -= direction[i];
      expected += 2 * gradient[i] * direction[i];
    }
    assertThat(lossAt(up, kind.maskFn, noise) - lossAt(down, kind.maskFn, noise))
        .isCloseTo(expected, within(1e-10));
    assertThat(Arrays.stream(gradient).map(Math::abs).max().orElseThrow()).isGreaterThan(1e-3);
  }

  /** The same pass from single operations, recorded by autograd. */
  @ParameterizedTest
  @MethodSource("kindsWithoutNoise")
  void gradientsAreThoseOfThePlainPass(Kind kind) {
    ModelGraph graph = open(kind.options());
    double[] values = RandomModels.masks(graph, 7);
    Tensor leaf =
        TensorArrays.of(values, Precision.FLOAT64.scalarType(), TestDevice.NAME, values.length)
            .set_requires_grad(true);
    Tensor masks = kind.maskFn == MaskFn.SIGMOID ? leaf.sigmoid() : leaf;
    Tensor weights =
        TensorArrays.of(
            RandomModels.normal((long) BATCH * SMALL.dVocab(), 1, new Random(2)),
            Precision.FLOAT64.scalarType(),
            TestDevice.NAME,
            BATCH,
            SMALL.dVocab());
    Tensor plain =
        new PlainGpt2(SMALL, model.weights())
            .logits(clean, new PlainPatching(graph, activations.tensor(), masks));
    plain.select(1, -1).mul(weights).sum().backward();

    try (MaskParameters parameters = model.newMaskParameters()) {
      parameters.set(values);
      try (PatchMode patching = model.patchMode(activations, parameters);
          MaskFnMode function = model.maskFnMode(kind.maskFn);
          TrainMaskMode training = model.trainMaskMode(parameters)) {
        model.forward(clean).mul(weights).sum().backward();
      }
      assertClose("gradient", parameters.gradientArray(), TensorArrays.doubles(leaf.grad()), 1e-9);
    }
  }

  @Test
  void gradientsOfEachExampleAddUpToThatOfSharedMasks() {
    ModelGraph graph = open(PatchableModelOptions.defaults());
    double[] masks = RandomModels.masks(graph, 3);
    double[] shared =
        TensorArrays.doubles(
            model
                .maskGradient(clean, PatchContext.of(activations, Masks.of(graph, masks)), LOSS)
                .gradient());
    Masks same = Masks.perExample(graph, new double[][] {masks, masks, masks});
    Tensor each = model.maskGradient(clean, PatchContext.of(activations, same), LOSS).gradient();
    assertThat(each.shape()).containsExactly(BATCH, graph.maskSize());
    assertClose("sum", TensorArrays.doubles(each.sum(0)), shared, 1e-10);
  }

  @Test
  void answersOfDifferentCountsArePadded() {
    ModelGraph graph = open(PatchableModelOptions.defaults());
    Masks masks = Masks.of(graph, RandomModels.masks(graph, 3));
    Tensor logits = model.forward(clean, PatchContext.of(activations, masks));
    double[] logprobs = TensorArrays.doubles(logits.log_softmax(1));
    int v = SMALL.dVocab();
    double difference =
        logprobs[3]
            - (logprobs[2] + logprobs[5]) / 2
            + logprobs[v + 1]
            - logprobs[v + 8]
            + logprobs[2 * v + 7]
            - (logprobs[2 * v + 4] + logprobs[2 * v]) / 2;
    assertThat(
            model
                .maskGradient(clean, PatchContext.of(activations, masks), LOSS)
                .loss()
                .item_double())
        .isCloseTo(-difference / 3, within(1e-12));
  }

  @Test
  void noiseIsReproducibleAndChangesWithSeedAndStep() {
    ModelGraph graph = open(PatchableModelOptions.defaults());
    double[] masks = new double[graph.maskSize()];
    double first = lossAt(masks, MaskFn.HARD_CONCRETE, Noise.seeded(1, 1));
    assertThat(lossAt(masks, MaskFn.HARD_CONCRETE, Noise.seeded(1, 1))).isEqualTo(first);
    assertThat(lossAt(masks, MaskFn.HARD_CONCRETE, Noise.seeded(1, 2))).isNotEqualTo(first);
    assertThat(lossAt(masks, MaskFn.HARD_CONCRETE, Noise.seeded(2, 1))).isNotEqualTo(first);
  }

  @Test
  void aModeDrawsAnewAtEachPassAndTheSameWhenEnteredAgain() {
    ModelGraph graph = open(PatchableModelOptions.defaults());
    Masks masks = Masks.uniform(graph, 0);
    double[][] passes = new double[4][];
    for (int again = 0; again < 2; again++) {
      try (PatchMode patching = model.patchMode(activations, masks);
          MaskFnMode function = model.maskFnMode(MaskFn.HARD_CONCRETE, 0, Noise.seeded(9, 0))) {
        passes[2 * again] = TensorArrays.doubles(model.forward(clean));
        passes[2 * again + 1] = TensorArrays.doubles(model.forward(clean));
      }
    }
    assertThat(passes[0]).isNotEqualTo(passes[1]);
    assertThat(passes[2]).isEqualTo(passes[0]);
    assertThat(passes[3]).isEqualTo(passes[1]);
  }

  @Test
  void dropoutActsOnlyWhileMasksAreTrained() {
    ModelGraph graph = open(PatchableModelOptions.defaults());
    try (MaskParameters parameters = model.newMaskParameters();
        PatchMode patching = model.patchMode(activations, parameters);
        MaskFnMode function = model.maskFnMode(MaskFn.NONE, 0.5, Noise.seeded(3, 0))) {
      parameters.setAll(0.7);
      double[] still =
          TensorArrays.doubles(
              model.forward(clean, PatchContext.of(activations, Masks.uniform(graph, 0.7))));
      assertThat(TensorArrays.doubles(model.forward(clean))).isEqualTo(still);
      try (TrainMaskMode training = model.trainMaskMode(parameters)) {
        assertThat(TensorArrays.doubles(model.forward(clean))).isNotEqualTo(still);
      }
      assertThat(TensorArrays.doubles(model.forward(clean))).isEqualTo(still);
    }
  }
}
