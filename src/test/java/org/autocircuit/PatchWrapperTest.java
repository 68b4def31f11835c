package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.Random;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Precision;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Noise;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;

/** The wrapper against sums written out in Java. */
class PatchWrapperTest {

  private static final int SOURCES = 3;
  private static final int BATCH = 2;
  private static final int SEQ = 4;
  private static final int ROWS = 2;
  private static final int D_MODEL = 5;

  private final Random random = new Random(1);

  @Test
  void interpolatesEveryShapeOfMask() {
    for (boolean hasSeq : new boolean[] {false, true}) {
      for (boolean hasRows : new boolean[] {false, true}) {
        try (PointerScope scope = new PointerScope()) {
          check(hasSeq, hasRows);
        }
      }
    }
  }

  private void check(boolean hasSeq, boolean hasRows) {
    Tensor arg0 = tensor(BATCH, SEQ, D_MODEL);
    Tensor activations = tensor(SOURCES, BATCH, SEQ, D_MODEL);
    Tensor current = tensor(SOURCES, BATCH, SEQ, D_MODEL);
    long[] shape = {hasSeq ? SEQ : 1, hasRows ? ROWS : 1, SOURCES};
    Tensor full = tensor(shape);
    Tensor mask = full;
    if (!hasRows) {
      mask = mask.squeeze(1);
    }
    if (!hasSeq) {
      mask = mask.squeeze(0);
    }
    Tensor result =
        PatchWrapper.interpolate(
            arg0, activations, current, PatchWrapper.Mask.of(mask, hasRows, hasSeq));
    int rows = hasRows ? ROWS : 1;
    assertThat(result.shape())
        .containsExactly(
            hasRows ? new long[] {BATCH, SEQ, ROWS, D_MODEL} : new long[] {BATCH, SEQ, D_MODEL});
    double[] values = TensorArrays.doubles(result);
    double[] inputs = TensorArrays.doubles(arg0);
    double[] masks = TensorArrays.doubles(full);
    double[] deltas = TensorArrays.doubles(activations.sub(current));
    int next = 0;
    for (int position = 0; position < BATCH * SEQ; position++) {
      for (int row = 0; row < rows; row++) {
        for (int d = 0; d < D_MODEL; d++) {
          double expected = inputs[position * D_MODEL + d];
          for (int source = 0; source < SOURCES; source++) {
            int seq = hasSeq ? position % SEQ : 0;
            expected +=
                masks[(seq * rows + row) * SOURCES + source]
                    * deltas[(source * BATCH * SEQ + position) * D_MODEL + d];
          }
          assertThat(values[next++]).isCloseTo(expected, within(1e-12));
        }
      }
    }
  }

  @Test
  void sigmoidAndHardConcreteAreWhatTheirFormulasSay() {
    try (PointerScope scope = new PointerScope()) {
      Tensor mask = tensor(SOURCES);
      Tensor uniforms = torch.rand(1, SOURCES).to(ScalarType.Double);
      double[] logits = TensorArrays.doubles(mask);
      double[] draws = TensorArrays.doubles(uniforms);
      double[] sigmoid = values(mask, MaskFn.SIGMOID, Noise.DEFAULT);
      double[] concrete = values(mask, MaskFn.HARD_CONCRETE, Noise.uniforms(uniforms));
      for (int i = 0; i < SOURCES; i++) {
        assertThat(sigmoid[i]).isCloseTo(1 / (1 + Math.exp(-logits[i])), within(1e-12));
        double u = Math.min(Math.max(draws[i], 1e-4), 1 - 1e-4);
        double stretched =
            1.2 / (1 + Math.exp(-(Math.log(u) - Math.log(1 - u) + logits[i]) * 1.5)) - 0.1;
        assertThat(concrete[i]).isCloseTo(Math.min(Math.max(stretched, 0), 1), within(1e-9));
      }
    }
  }

  @Test
  void seedAndStepChooseTheNoise() {
    try (PointerScope scope = new PointerScope()) {
      Tensor mask = tensor(200);
      double[] first = values(mask, MaskFn.HARD_CONCRETE, Noise.seeded(1, 0));
      assertThat(values(mask, MaskFn.HARD_CONCRETE, Noise.seeded(1, 0))).isEqualTo(first);
      assertThat(values(mask, MaskFn.HARD_CONCRETE, Noise.seeded(1, 1))).isNotEqualTo(first);
      assertThat(values(mask, MaskFn.HARD_CONCRETE, Noise.seeded(2, 0))).isNotEqualTo(first);
    }
  }

  @Test
  void recordsSourcesInTheirRows() {
    try (PointerScope scope = new PointerScope()) {
      Tensor buffer = torch.zeros(SOURCES, BATCH, SEQ, D_MODEL).to(ScalarType.Double);
      Tensor heads = tensor(BATCH, SEQ, ROWS, D_MODEL);
      PatchWrapper.recordSource(heads, buffer, 1);
      assertThat(torch.equal(buffer.select(0, 1), heads.select(2, 0))).isTrue();
      assertThat(torch.equal(buffer.select(0, 2), heads.select(2, 1))).isTrue();
      assertThat(buffer.select(0, 0).abs().sum().item_double()).isZero();
    }
  }

  @Test
  void isDifferentiableInEveryTensor() {
    try (PointerScope scope = new PointerScope()) {
      Tensor arg0 = tensor(BATCH, SEQ, D_MODEL).set_requires_grad(true);
      Tensor activations = tensor(SOURCES, BATCH, SEQ, D_MODEL).set_requires_grad(true);
      Tensor current = tensor(SOURCES, BATCH, SEQ, D_MODEL).set_requires_grad(true);
      Tensor mask = tensor(SOURCES).set_requires_grad(true);
      PatchWrapper.interpolate(arg0, activations, current, PatchWrapper.Mask.of(mask, false, false))
          .sum()
          .backward();
      double[] deltas = TensorArrays.doubles(activations.sub(current).sum(1, 2, 3));
      double[] gradient = TensorArrays.doubles(mask.grad());
      assertThat(gradient).containsExactly(deltas, within(1e-12));
      assertThat(torch.equal(activations.grad(), current.grad().neg())).isTrue();
      assertThat(TensorArrays.doubles(arg0.grad())).containsOnly(1);
    }
  }

  private double[] values(Tensor mask, MaskFn maskFn, Noise noise) {
    return TensorArrays.doubles(
        PatchWrapper.applyMaskFn(new PatchWrapper.Mask(mask, false, false, maskFn, 0, noise), 1));
  }

  private Tensor tensor(long... shape) {
    return TestModels.randomTensor(random, Precision.FLOAT64, 1, 0, shape);
  }
}
