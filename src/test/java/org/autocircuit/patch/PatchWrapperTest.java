package org.autocircuit.patch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.autocircuit.Close.assertClose;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.autocircuit.NativeScope;
import org.autocircuit.RandomModels;
import org.autocircuit.TestDevice;
import org.autocircuit.internal.TensorArrays;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The patch wrapper by itself, against loops over every number. */
@ExtendWith(NativeScope.class)
class PatchWrapperTest {

  private static final int BATCH = 2;
  private static final int SEQ = 3;
  private static final int ROWS = 4;
  private static final int N = 5;
  private static final int D = 6;

  record Shape(boolean batched, boolean hasSeq, boolean hasRows, MaskFn maskFn) {

    long[] mask() {
      List<Long> shape = new ArrayList<>();
      if (batched) {
        shape.add((long) BATCH);
      }
      if (hasSeq) {
        shape.add((long) SEQ);
      }
      if (hasRows) {
        shape.add((long) ROWS);
      }
      shape.add((long) N);
      return shape.stream().mapToLong(Long::longValue).toArray();
    }

    int index(int batch, int seq, int row, int source) {
      int index = batched ? batch : 0;
      index = hasSeq ? index * SEQ + seq : index;
      index = hasRows ? index * ROWS + row : index;
      return index * N + source;
    }
  }

  static Stream<Shape> shapes() {
    List<Shape> shapes = new ArrayList<>();
    for (MaskFn fn : MaskFn.values()) {
      for (int bits = 0; bits < 8; bits++) {
        shapes.add(new Shape((bits & 1) > 0, (bits & 2) > 0, (bits & 4) > 0, fn));
      }
    }
    return shapes.stream();
  }

  private static Tensor random(long seed, long... shape) {
    long size = Arrays.stream(shape).reduce(1, (a, b) -> a * b);
    return TensorArrays.of(
        RandomModels.normal(size, 1, new Random(seed)), ScalarType.Double, TestDevice.NAME, shape);
  }

  private static double weight(MaskFn fn, double mask, double uniform) {
    return switch (fn) {
      case NONE -> mask;
      case SIGMOID -> 1 / (1 + Math.exp(-mask));
      case HARD_CONCRETE -> {
        double u = Math.min(Math.max(uniform, 1e-4), 1 - 1e-4);
        double concrete = 1 / (1 + Math.exp(-(Math.log(u) - Math.log(1 - u) + mask) / (2.0 / 3.0)));
        yield Math.min(1, Math.max(0, concrete * 1.2 - 0.1));
      }
    };
  }

  @ParameterizedTest
  @MethodSource("shapes")
  void interpolatesLikeALoop(Shape shape) {
    Tensor masks = random(1, shape.mask());
    Tensor acts = random(2, N, BATCH, SEQ, D);
    Tensor current = random(3, N, BATCH, SEQ, D);
    Tensor arg0 = random(4, BATCH, SEQ, D);
    // Samples are drawn for each example, so their shape has a batch in any case.
    Shape drawn = new Shape(true, shape.hasSeq, shape.hasRows, shape.maskFn);
    double[] u = new Random(9).doubles(BATCH * SEQ * ROWS * N).toArray();
    u[0] = 0;
    u[1] = 1;
    long[] drawnShape = drawn.mask();
    int drawnSize = (int) Arrays.stream(drawnShape).reduce(1, (a, b) -> a * b);
    Noise noise =
        Noise.uniforms(
            TensorArrays.of(
                Arrays.copyOf(u, drawnSize), ScalarType.Double, TestDevice.NAME, drawnShape));
    Tensor result =
        PatchWrapper.interpolate(
            arg0,
            acts,
            current,
            PatchWrapper.Mask.of(masks, shape.hasRows, shape.hasSeq)
                .withMaskFn(shape.maskFn)
                .withNoise(shape.maskFn == MaskFn.HARD_CONCRETE ? noise : Noise.DEFAULT));

    double[] m = TensorArrays.doubles(masks);
    double[] a = TensorArrays.doubles(acts);
    double[] c = TensorArrays.doubles(current);
    double[] x = TensorArrays.doubles(arg0);
    int rows = shape.hasRows ? ROWS : 1;
    double[] expected = new double[BATCH * SEQ * rows * D];
    for (int b = 0; b < BATCH; b++) {
      for (int s = 0; s < SEQ; s++) {
        for (int r = 0; r < rows; r++) {
          for (int d = 0; d < D; d++) {
            double sum = x[(b * SEQ + s) * D + d];
            for (int i = 0; i < N; i++) {
              int at = ((i * BATCH + b) * SEQ + s) * D + d;
              double f =
                  weight(shape.maskFn, m[shape.index(b, s, r, i)], u[drawn.index(b, s, r, i)]);
              sum += f * (a[at] - c[at]);
            }
            expected[((b * SEQ + s) * rows + r) * D + d] = sum;
          }
        }
      }
    }
    if (shape.hasRows) {
      assertThat(result.shape()).containsExactly(BATCH, SEQ, ROWS, D);
    } else {
      assertThat(result.shape()).containsExactly(BATCH, SEQ, D);
    }
    assertClose(shape.toString(), TensorArrays.doubles(result), expected, 1e-12);
  }

  @Test
  void isDifferentiableInEveryTensor() {
    Tensor[] inputs = {
      random(4, BATCH, SEQ, ROWS, D),
      random(2, N, BATCH, SEQ, D),
      random(3, N, BATCH, SEQ, D),
      random(1, SEQ, ROWS, N)
    };
    for (Tensor input : inputs) {
      input.set_requires_grad(true);
    }
    squares(inputs).backward();
    for (int which = 0; which < inputs.length; which++) {
      Tensor step = random(20 + which, inputs[which].shape()).mul(scalar(1e-6));
      double expected = inputs[which].grad().mul(step).sum().item_double() * 2;
      Tensor[] up = inputs.clone();
      Tensor[] down = inputs.clone();
      up[which] = inputs[which].detach().add(step);
      down[which] = inputs[which].detach().sub(step);
      assertThat(squares(up).item_double() - squares(down).item_double())
          .as("input " + which)
          .isCloseTo(expected, within(1e-8));
      assertThat(expected).isNotZero();
    }
  }

  private static Tensor squares(Tensor... in) {
    Tensor out =
        PatchWrapper.interpolate(
            in[0],
            in[1],
            in[2],
            PatchWrapper.Mask.of(in[3], true, true).withMaskFn(MaskFn.SIGMOID));
    return out.mul(out).sum();
  }

  private static Scalar scalar(double value) {
    return new Scalar(value);
  }

  @Test
  void recordsOneSourceOrOneForEachRow() {
    Tensor outputs = TensorArrays.zeros(ScalarType.Double, TestDevice.NAME, N, BATCH, SEQ, D);
    Tensor single = random(5, BATCH, SEQ, D);
    Tensor heads = random(6, BATCH, SEQ, 3, D);
    PatchWrapper.recordSource(single, outputs, 0);
    PatchWrapper.recordSource(heads, outputs, 1);
    assertClose("source 0", outputs.select(0, 0), single, 0);
    for (int head = 0; head < 3; head++) {
      assertClose("source " + (1 + head), outputs.select(0, 1 + head), heads.select(2, head), 0);
    }
    assertThat(outputs.select(0, 4).count_nonzero().item_long()).isZero();
  }

  @Test
  void runsOnTheMetaDevice() {
    Device meta = new Device("meta");
    for (MaskFn fn : MaskFn.values()) {
      Tensor masks = random(1, SEQ, ROWS, N).to(meta, ScalarType.Float).set_requires_grad(true);
      Tensor out =
          PatchWrapper.interpolate(
              random(4, BATCH, SEQ, D).to(meta, ScalarType.Float),
              random(2, N, BATCH, SEQ, D).to(meta, ScalarType.Float),
              random(3, N, BATCH, SEQ, D).to(meta, ScalarType.Float),
              PatchWrapper.Mask.of(masks, true, true).withMaskFn(fn).withDropout(0.1));
      assertThat(out.shape()).containsExactly(BATCH, SEQ, ROWS, D);
      out.sum().backward();
      assertThat(masks.grad().shape()).containsExactly(SEQ, ROWS, N);
    }
  }

  @Test
  void hardConcreteSamplesAndDropoutHaveTheirDistributions() {
    int n = 200_000;
    for (double mask : new double[] {-1, 0, 2}) {
      Tensor masks = TensorArrays.zeros(ScalarType.Double, TestDevice.NAME, n).add(scalar(mask));
      double[] samples =
          TensorArrays.doubles(
              PatchWrapper.applyMaskFn(
                  PatchWrapper.Mask.of(masks, false, false)
                      .withMaskFn(MaskFn.HARD_CONCRETE)
                      .withNoise(Noise.seeded(5, 1)),
                  1));
      assertThat(Arrays.stream(samples).allMatch(s -> s >= 0 && s <= 1)).isTrue();
      // P(0) = sigmoid(temperature * logit(1/12) - mask), P(1) = sigmoid(mask - t * logit(11/12)).
      double cut = 2.0 / 3.0 * Math.log(11);
      double zeros = Arrays.stream(samples).filter(s -> s == 0).count() / (double) n;
      double ones = Arrays.stream(samples).filter(s -> s == 1).count() / (double) n;
      assertThat(zeros).isCloseTo(1 / (1 + Math.exp(cut + mask)), within(0.005));
      assertThat(ones).isCloseTo(1 / (1 + Math.exp(cut - mask)), within(0.005));
    }
    Tensor ones = TensorArrays.zeros(ScalarType.Double, TestDevice.NAME, n).add(scalar(1));
    double[] dropped =
        TensorArrays.doubles(
            PatchWrapper.applyMaskFn(
                PatchWrapper.Mask.of(ones, false, false)
                    .withDropout(0.3)
                    .withNoise(Noise.seeded(5, 1)),
                1));
    double kept = Arrays.stream(dropped).filter(v -> v != 0).count() / (double) n;
    assertThat(kept).isCloseTo(0.7, within(0.005));
    assertThat(
            Arrays.stream(dropped).filter(v -> v != 0).allMatch(v -> Math.abs(v - 1 / 0.7) < 1e-12))
        .isTrue();
  }

  @Test
  void refusesWhatDoesNotFit() {
    Tensor acts = random(2, N, BATCH, SEQ, D);
    Tensor arg0 = random(4, BATCH, SEQ, D);
    Tensor outputs = random(3, N, BATCH, SEQ, D);
    assertThatThrownBy(
            () ->
                PatchWrapper.interpolate(
                    arg0, acts, outputs, PatchWrapper.Mask.of(random(1, N + 1), false, false)))
        .isInstanceOf(RuntimeException.class)
        .hasMessageContaining("mask")
        .hasMessageContaining("6")
        .message()
        .doesNotContain("frame #", "Exception raised");
    assertThatThrownBy(
            () ->
                PatchWrapper.interpolate(
                    arg0,
                    acts,
                    random(3, N, BATCH, SEQ, D + 1),
                    PatchWrapper.Mask.of(random(1, N), false, false)))
        .hasMessageContaining("[n, batch, seq, d_model]");
    assertThatThrownBy(() -> PatchWrapper.recordSource(random(6, BATCH, SEQ, 3, D), outputs, 3))
        .hasMessageContaining("source");
    assertThatThrownBy(() -> PatchWrapper.recordSource(arg0, outputs, -1))
        .hasMessageContaining("-1");
    assertThatThrownBy(() -> PatchWrapper.recordSource(null, outputs, 0))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("output");
  }
}
