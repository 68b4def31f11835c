package org.autocircuit;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.DoubleStream;
import java.util.stream.IntStream;
import org.autocircuit.AnswerLoss.AnswerFunction;
import org.autocircuit.AnswerLoss.GradFunction;
import org.autocircuit.ApiSequenceState.Patch;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.patch.AblationType;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;

/** A model that nobody closes, and what it says an {@link ApiSequence}'s passes should give. */
final class ApiSequenceReference implements AutoCloseable {

  static final int PROMPTS = 3;

  private static final AnswerLoss LOSS =
      AnswerLoss.of(
          GradFunction.LOGIT,
          AnswerFunction.AVG_DIFF,
          new long[][] {{3}, {1}},
          new long[][] {{2}, {8}});

  private final Model model = TestModels.transformer(Precision.FLOAT32, true, 1);
  private final PatchableModel patchable = open();
  private final List<SourceActivations> activations = new ArrayList<>();

  ApiSequenceReference() {
    for (int i = 0; i < PROMPTS; i++) {
      activations.add(sources(patchable, i));
    }
  }

  /** Another patchable model of the same weights. */
  PatchableModel open() {
    return PatchableModel.of(model, PatchableModelOptions.defaults());
  }

  SourceActivations sources(PatchableModel of, int prompts) {
    return of.sourceAblations(prompts(prompts), AblationType.RESAMPLE);
  }

  long[][] prompts(int prompts) {
    return TestModels.tokens(2, 5, prompts);
  }

  Tensor tokens(int prompts) {
    return TestModels.tokenTensor(2, 5, prompts);
  }

  double[] zeros() {
    return new double[patchable.graph().maskSize()];
  }

  double[] randomMasks(Random random) {
    return random.doubles(patchable.graph().maskSize()).map(v -> (float) v).toArray();
  }

  /** Recorded passes take other paths than plain ones, so the last digits may differ. */
  void assertLogits(double[] actual, int prompts, Patch patch) {
    float[][] expected = patchable.logits(prompts(prompts), context(patch));
    Close.assertClose("logits", actual, flat(expected), 1e-4);
  }

  void assertGradient(PatchableModel of, int prompts, Patch patch) {
    double[] expected = gradient(patchable, prompts(prompts), context(patch));
    double[] actual = gradient(of, prompts(prompts), patch.context());
    Close.assertClose("gradient", actual, expected, 1e-4);
  }

  static double[] flat(float[][] rows) {
    return Arrays.stream(rows).flatMapToDouble(ApiSequenceReference::doubles).toArray();
  }

  private static DoubleStream doubles(float[] row) {
    return IntStream.range(0, row.length).mapToDouble(i -> row[i]);
  }

  private static double[] gradient(PatchableModel of, long[][] prompts, PatchContext context) {
    try (PointerScope scope = new PointerScope()) {
      return TensorArrays.doubles(of.maskGradient(prompts, context, LOSS).gradient());
    }
  }

  @Override
  public void close() {
    activations.forEach(SourceActivations::close);
    patchable.close();
    model.close();
  }

  /** The same patch with activations that are never closed and masks that are immutable. */
  private PatchContext context(Patch patch) {
    return patch.activations() == null
        ? PatchContext.NONE
        : PatchContext.builder(
                activations.get(patch.activations().prompts),
                Masks.of(patchable.graph(), patch.values()))
            .maskFn(patch.maskFn())
            .build();
  }
}
