package org.autocircuit.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.Random;
import java.util.function.Function;
import java.util.stream.Stream;
import org.autocircuit.NativeScope;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.MaskGradientResult;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.sae.AutoencoderModels;
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
 * Every family in 16-bit floats against the same rounded weights in 64-bit floats. Errors stay
 * below three times the largest that were measured and that {@link Precision} tells users. How much
 * rounding a model can take is its own affair, so they are also measured by what rounding the
 * weights alone does to it: {@link #MOST} times that is allowed for what is rounded at every step.
 */
@ExtendWith(NativeScope.class)
@Tag("slow")
class HalfPrecisionTest {

  private static final double MOST = 6;

  /** In this model the loss hardly depends on the masks, and what is left is mostly rounding. */
  private static final String FLAT = "llama, new rope keys";

  private static final List<String> AUTOENCODERS =
      List.of("sparse autoencoders", "sparse autoencoders with error nodes");

  private static final AnswerLoss LOSS =
      AnswerLoss.of(
          AnswerLoss.GradFunction.LOGPROB,
          AnswerLoss.AnswerFunction.AVG_DIFF,
          new long[][] {{1}, {2}},
          new long[][] {{3}, {4}});

  @TempDir Path folder;

  static Stream<Arguments> families() {
    return inBothPrecisions(Arrays.stream(FamilyModels.names()));
  }

  static Stream<Arguments> kinds() {
    return Stream.concat(families(), inBothPrecisions(AUTOENCODERS.stream()));
  }

  private static Stream<Arguments> inBothPrecisions(Stream<String> names) {
    return names.flatMap(
        name ->
            Stream.of(Precision.BFLOAT16, Precision.FLOAT16)
                .map(precision -> Arguments.of(name, precision)));
  }

  private static Tensor tokens(long seed) {
    Random random = new Random(seed);
    long[][] tokens = new long[2][9];
    for (long[] row : tokens) {
      Arrays.setAll(row, i -> random.nextInt(FamilyModel.VOCAB));
    }
    return TensorArrays.of(tokens, "tokens", "cpu");
  }

  /** Writes a model, rounded to a precision. Those with autoencoders are GPT-2 with them. */
  private void write(String name, Precision precision) {
    boolean sparse = AUTOENCODERS.contains(name);
    FamilyModel model = FamilyModels.named(sparse ? "gpt2" : name);
    FamilyFolders.write(model, folder, SafetensorsType.of(precision));
    if (sparse) {
      Map<String, Tensor> weights =
          AutoencoderModels.weights(
              List.of(0, 1, 2), FamilyModel.D, 20, OptionalInt.empty(), Precision.FLOAT64, 8);
      FamilyFolders.writeFile(weights, autoencoders(), SafetensorsType.of(precision));
    }
  }

  private Path autoencoders() {
    return folder.resolve("autoencoders");
  }

  private PatchableModel open(String name, Precision precision) {
    LoadOptions options = LoadOptions.DEFAULT.withPrecision(precision);
    if (!AUTOENCODERS.contains(name)) {
      return PatchableModel.open(folder, options, PatchableModelOptions.defaults());
    }
    boolean errorNodes = AUTOENCODERS.indexOf(name) == 1;
    try (Model plain = Checkpoints.load(folder, options);
        Model sparse = Checkpoints.withAutoencoders(plain, autoencoders(), errorNodes)) {
      return PatchableModel.of(sparse, PatchableModelOptions.defaults());
    }
  }

  /** The same model thrice: in 16 bits, and in wider floats with the weights rounded or not. */
  private final class Models implements AutoCloseable {
    final PatchableModel half;
    final PatchableModel rounded;
    final PatchableModel original;
    private final String name;

    Models(String name, Precision precision, Precision wide) {
      this.name = name;
      write(name, Precision.FLOAT64);
      original = open(name, wide);
      write(name, precision);
      rounded = open(name, wide);
      half = open(name, precision);
    }

    /** Compares logits, or outputs of sources. */
    void compareOutputs(String what, Function<PatchableModel, Tensor> function) {
      double most = half.precision() == Precision.BFLOAT16 ? 0.1 : 0.017;
      assertThat(compare(what, function)).as(what).isLessThan(most);
    }

    /**
     * Compares gradients with respect to the masks. Where the value of a latent is all but 0 its
     * slope is on one side in 16 bits and on the other in 64, whatever the type.
     */
    void compareGradients(String what, Function<PatchableModel, Tensor> function) {
      double most = half.precision() == Precision.BFLOAT16 ? 0.3 : 0.03;
      double error = compare(what, function);
      if (!name.equals(FLAT)) {
        assertThat(error).as(what).isLessThan(AUTOENCODERS.contains(name) ? 0.5 : most);
      }
    }

    /** The error of what a function makes of the model in 16 bits. */
    private double compare(String what, Function<PatchableModel, Tensor> function) {
      double[] expected = TensorArrays.doubles(function.apply(rounded));
      double unit = distance(expected, TensorArrays.doubles(function.apply(original)));
      double error = distance(expected, TensorArrays.doubles(function.apply(half)));
      if (!AUTOENCODERS.contains(name)) {
        assertThat(unit).as(what + ": what rounding the weights changes").isBetween(1e-5, 0.2);
        assertThat(error / unit).as(what).isLessThan(MOST);
      }
      return error;
    }

    @Override
    public void close() {
      half.close();
      rounded.close();
      original.close();
    }
  }

  /** Length of the difference over the length of what is expected. */
  private static double distance(double[] expected, double[] actual) {
    assertThat(actual).hasSameSizeAs(expected);
    double length = 0;
    double difference = 0;
    for (int i = 0; i < expected.length; i++) {
      length += expected[i] * expected[i];
      difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    }
    return Math.sqrt(difference / length);
  }

  private static ScalarType type(Tensor tensor) {
    return tensor.scalar_type().intern();
  }

  @ParameterizedTest
  @MethodSource("kinds")
  void passesAndGradientsAreThoseOfTheModelInDoubles(String name, Precision precision) {
    try (Models models = new Models(name, precision, Precision.FLOAT64)) {
      models.compareOutputs("plain", model -> model.forward(tokens(1)));
      models.compareOutputs("sources", HalfPrecisionTest::sources);
      double[] random = new Random(3).doubles(models.half.graph().maskSize()).toArray();
      for (Masks masks :
          List.of(Masks.uniform(models.half.graph(), 0), Masks.of(models.half.graph(), random))) {
        models.compareOutputs("patched", model -> patched(model, masks));
        models.compareGradients("gradient", model -> gradient(model, masks, MaskFn.NONE, 0));
      }
    }
  }

  /** Noise does not depend on the precision of the model. */
  @ParameterizedTest
  @MethodSource("kinds")
  void samplesAndDropoutAreThoseOfTheModelIn32Bits(String name, Precision precision) {
    try (Models models = new Models(name, precision, Precision.FLOAT32)) {
      Masks masks = Masks.uniform(models.half.graph(), 0.3);
      models.compareGradients("samples", model -> gradient(model, masks, MaskFn.HARD_CONCRETE, 0));
      models.compareGradients("dropout", model -> gradient(model, masks, MaskFn.SIGMOID, 0.5));
    }
  }

  private static Tensor sources(PatchableModel model) {
    try (SourceActivations patch = model.sourceAblations(tokens(2), BatchAblation.RESAMPLE)) {
      return patch.tensor();
    }
  }

  private static Tensor patched(PatchableModel model, Masks masks) {
    try (SourceActivations patch = model.sourceAblations(tokens(2), BatchAblation.RESAMPLE)) {
      return model.forward(tokens(1), PatchContext.of(patch, masks));
    }
  }

  private static Tensor gradient(PatchableModel model, Masks masks, MaskFn fn, double dropout) {
    try (SourceActivations patch = model.sourceAblations(tokens(2), BatchAblation.RESAMPLE)) {
      PatchContext context =
          PatchContext.builder(patch, masks)
              .maskFn(fn)
              .dropout(dropout)
              .noise(dropout > 0 || fn == MaskFn.HARD_CONCRETE ? Noise.seeded(4, 1) : Noise.DEFAULT)
              .build();
      return model.maskGradient(tokens(1), context, LOSS).gradient();
    }
  }

  @ParameterizedTest
  @MethodSource("kinds")
  void masksOfZeroAreCleanExactlyAndMasksOfOneThePatchRun(String name, Precision precision) {
    write(name, precision);
    try (PatchableModel model = open(name, precision)) {
      Tensor none = patched(model, Masks.uniform(model.graph(), 0));
      assertThat(torch.equal(none, model.forward(tokens(1)))).isTrue();
      Tensor all = patched(model, Masks.uniform(model.graph(), 1));
      double error =
          distance(TensorArrays.doubles(model.forward(tokens(2))), TensorArrays.doubles(all));
      assertThat(error).isLessThan(precision == Precision.BFLOAT16 ? 0.02 : 0.003);
    }
  }

  @ParameterizedTest
  @MethodSource("families")
  void savedModelsAreTheSame(String name, Precision precision) {
    write(name, precision);
    Tensor expected;
    try (Model model = Checkpoints.load(folder, LoadOptions.DEFAULT.withPrecision(precision));
        PatchableModel patchable = PatchableModel.of(model, PatchableModelOptions.defaults())) {
      expected = patchable.forward(tokens(1));
      Checkpoints.save(model, folder);
    }
    try (PatchableModel again = open(name, precision)) {
      assertThat(torch.equal(again.forward(tokens(1)), expected)).isTrue();
    }
  }

  @ParameterizedTest
  @MethodSource("kinds")
  void masksGradientsAndLossesAreOf32Bits(String name, Precision precision) {
    write(name, precision);
    try (PatchableModel model = open(name, precision);
        SourceActivations patch = model.sourceAblations(tokens(2), BatchAblation.RESAMPLE)) {
      assertThat(type(patch.tensor())).isEqualTo(precision.scalarType());
      assertThat(type(model.forward(tokens(1)))).isEqualTo(precision.scalarType());
      model.masks().setAll(1.0001f);
      assertThat(model.masks().toArray()).containsOnly(1.0001f);
      assertThat(type(model.masks().tensor())).isEqualTo(ScalarType.Float);
      MaskGradientResult result =
          model.maskGradient(tokens(1), PatchContext.of(patch, model.masks()), LOSS);
      assertThat(type(result.gradient())).isEqualTo(ScalarType.Float);
      assertThat(type(result.loss())).isEqualTo(ScalarType.Float);
      assertThat(type(result.logits())).isEqualTo(precision.scalarType());
    }
  }
}
