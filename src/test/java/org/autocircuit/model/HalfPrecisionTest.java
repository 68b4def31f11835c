package org.autocircuit.model;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;
import java.util.stream.Stream;
import org.autocircuit.AnswerLoss;
import org.autocircuit.MaskGradientResult;
import org.autocircuit.NativeScope;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.patch.AblationType;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Every family in 16-bit floats against the same rounded weights in 64-bit floats. Errors are
 * measured by the largest value: of logits, and of the gradient of the masks.
 */
@ExtendWith(NativeScope.class)
@Tag("slow")
class HalfPrecisionTest {

  private static final AnswerLoss LOSS =
      AnswerLoss.of(
          AnswerLoss.GradFunction.LOGPROB,
          AnswerLoss.AnswerFunction.AVG_DIFF,
          new long[][] {{1}, {2}},
          new long[][] {{3}, {4}});

  @TempDir Path folder;

  static Stream<Arguments> kinds() {
    return Arrays.stream(FamilyModels.names())
        .flatMap(
            name ->
                Stream.of(Precision.BFLOAT16, Precision.FLOAT16)
                    .map(precision -> Arguments.of(name, precision)));
  }

  /** Share of the largest value. Random weights this large make the most of each rounding. */
  private static double tolerance(Precision precision) {
    return precision == Precision.BFLOAT16 ? 0.06 : 0.008;
  }

  private static Tensor tokens(long seed) {
    Random random = new Random(seed);
    long[][] tokens = new long[2][9];
    for (long[] row : tokens) {
      Arrays.setAll(row, i -> random.nextInt(FamilyModel.VOCAB));
    }
    return TensorArrays.of(tokens, "tokens", "cpu");
  }

  private PatchableModel open(Precision precision) {
    return PatchableModel.open(
        folder, LoadOptions.DEFAULT.withPrecision(precision), PatchableModelOptions.defaults());
  }

  private void write(String name, Precision precision) {
    FamilyFolders.write(
        FamilyModels.named(name).rounded(precision.scalarType()),
        folder,
        precision.safetensorsType());
  }

  private static void assertClose(
      String what, Tensor actual, Tensor expected, double tolerance) {
    double[] values = TensorArrays.doubles(actual);
    double[] wanted = TensorArrays.doubles(expected);
    assertThat(values).as(what).hasSameSizeAs(wanted);
    double largest = Arrays.stream(wanted).map(Math::abs).max().orElseThrow();
    assertThat(largest).as(what).isPositive();
    double error = 0;
    for (int i = 0; i < values.length; i++) {
      error = Math.max(error, Math.abs(values[i] - wanted[i]) / largest);
    }
    System.out.println("ERR " + what + " " + error);
    assertThat(error).as(what).isLessThan(tolerance);
  }

  @ParameterizedTest
  @MethodSource("kinds")
  void passesAndGradientsAreThoseOfTheModelInDoubles(String name, Precision precision) {
    write(name, precision);
    double tolerance = tolerance(precision);
    try (PatchableModel half = open(precision);
        PatchableModel exact = open(Precision.FLOAT64);
        SourceActivations patch = half.sourceAblations(tokens(2), AblationType.RESAMPLE);
        SourceActivations exactPatch = exact.sourceAblations(tokens(2), AblationType.RESAMPLE)) {
      String what = name + " " + precision + " ";
      assertClose(what + "plain", half.forward(tokens(1)), exact.forward(tokens(1)), tolerance);
      assertClose(what + "sources", patch.tensor(), exactPatch.tensor(), tolerance);
      double[] values = new Random(3).doubles(half.graph().maskSize()).toArray();
      for (double scale : new double[] {0, 1}) {
        double[] masks = Arrays.stream(values).map(value -> value * scale).toArray();
        Masks given = Masks.of(half.graph(), masks);
        PatchContext context = PatchContext.of(patch, given);
        PatchContext exactContext = PatchContext.of(exactPatch, given);
        assertClose(
            what + "patched",
            half.forward(tokens(1), context),
            exact.forward(tokens(1), exactContext),
            tolerance);
        MaskGradientResult gradient = half.maskGradient(tokens(1), context, LOSS);
        MaskGradientResult expected = exact.maskGradient(tokens(1), exactContext, LOSS);
        assertThat(gradient.gradient().scalar_type().intern()).isEqualTo(ScalarType.Float);
        assertThat(gradient.loss().scalar_type().intern()).isEqualTo(ScalarType.Float);
        assertThat(gradient.logits().scalar_type().intern()).isEqualTo(precision.scalarType());
        assertClose(what + "gradient", gradient.gradient(), expected.gradient(), tolerance);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("kinds")
  void masksOfZeroAreCleanExactlyAndMasksOfOneThePatchRun(String name, Precision precision) {
    write(name, precision);
    try (PatchableModel model = open(precision);
        SourceActivations patch = model.sourceAblations(tokens(2), AblationType.RESAMPLE)) {
      assertThat(patch.tensor().scalar_type().intern()).isEqualTo(precision.scalarType());
      Tensor none =
          model.forward(tokens(1), PatchContext.of(patch, Masks.uniform(model.graph(), 0)));
      assertThat(none.scalar_type().intern()).isEqualTo(precision.scalarType());
      assertThat(torch.equal(none, model.forward(tokens(1)))).isTrue();
      Tensor all =
          model.forward(tokens(1), PatchContext.of(patch, Masks.uniform(model.graph(), 1)));
      assertClose(
          name + " " + precision + " all", all, model.forward(tokens(2)), tolerance(precision));
    }
  }

  /** Noise does not depend on the precision, and masks are not rounded to 16 bits. */
  @ParameterizedTest
  @MethodSource("kinds")
  void masksAndSamplesAreOf32Bits(String name, Precision precision) {
    write(name, precision);
    try (PatchableModel half = open(precision);
        PatchableModel single = open(Precision.FLOAT32);
        SourceActivations patch = half.sourceAblations(tokens(2), AblationType.RESAMPLE);
        SourceActivations singlePatch = SourceActivations.of(patch.tensor().to(ScalarType.Float))) {
      half.masks().setAll(1.0001f);
      assertThat(half.masks().toArray()).containsOnly(1.0001f);
      assertThat(half.masks().tensor().scalar_type().intern()).isEqualTo(ScalarType.Float);
      Masks masks = Masks.uniform(half.graph(), 0.3);
      for (PatchContext context :
          new PatchContext[] {
            PatchContext.builder(patch, masks)
                .maskFn(MaskFn.HARD_CONCRETE)
                .noise(Noise.seeded(4, 1))
                .build(),
            PatchContext.builder(patch, masks).maskFn(MaskFn.SIGMOID).dropout(0.5).build()
          }) {
        assertClose(
            "%s %s %s".formatted(name, precision, context.maskFn()),
            half.maskGradient(tokens(1), context, LOSS).gradient(),
            single
                .maskGradient(
                    tokens(1), context.toBuilder().patch(singlePatch, masks).build(), LOSS)
                .gradient(),
            tolerance(precision));
      }
    }
  }
}
