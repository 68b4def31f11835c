package org.autocircuit.patch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.Random;
import org.autocircuit.TestModels;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Precision;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;

/** The mask functions against their formulas. */
class MaskFnTest {

  private static final int SOURCES = 3;

  private final Random random = new Random(1);

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

  private double[] values(Tensor mask, MaskFn maskFn, Noise noise) {
    return TensorArrays.doubles(
        PatchWrapper.applyMaskFn(
            PatchWrapper.Mask.of(mask, false, false).withMaskFn(maskFn).withNoise(noise), 1));
  }

  private Tensor tensor(long... shape) {
    return TestModels.randomTensor(random, Precision.FLOAT64, 1, 0, shape);
  }
}
