package org.autocircuit.prune;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;
import static org.assertj.core.api.Assertions.within;

import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.TestDevice;
import org.autocircuit.TestModels;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.attribution.EdgeAttribution;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.exception.NativeException;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.PrefixCache;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class MemoryLimitedGradientTest {

  private final PatchableModel model =
      TestModels.patchable(Precision.FLOAT64, PatchableModelOptions.defaults());
  private final List<PromptPairBatch> batches =
      List.of(TestModels.batch(3, 5, 10), TestModels.batch(2, 5, 20));

  @AfterEach
  void close() {
    model.close();
  }

  @ParameterizedTest
  @MethodSource("org.autocircuit.patch.Ablation#values")
  void aLimitChangesNoScore(Ablation type) {
    for (double maskValue : new double[] {0, 0.5}) {
      assertLimitChangesNothing(
          model, batches, MaskGradient.builder().ablation(type).maskValue(maskValue));
    }
  }

  @Test
  void integratedGradients() {
    assertLimitChangesNothing(
        model,
        batches,
        MaskGradient.builder().integratedGradSamples(2).patchInput(CleanCorrupt.CLEAN));
  }

  @Test
  void paddedPromptsBehindAPrefix() {
    PromptPairBatch padded =
        TestModels.together(
            List.of(
                TestModels.batch(1, 3, 10),
                TestModels.batch(1, 5, 20),
                TestModels.batch(1, 4, 30)));
    try (PrefixCache prefix = model.prefixOf(new long[][] {{1, 2}});
        PatchableModel after = model.withPrefix(prefix)) {
      assertLimitChangesNothing(after, List.of(padded), MaskGradient.builder());
    }
  }

  @Test
  void attributionsThatContradictThemselvesAreRefused() {
    try (PointerScope scope = new PointerScope();
        SourceActivations patch =
            model.sourceAblations(batches.get(0).corrupt(), BatchAblation.RESAMPLE)) {
      ModelInput clean = ModelInput.ofPrompts(batches.get(0).clean(), TestDevice.NAME);
      ModelInput corrupt = ModelInput.ofPrompts(batches.get(1).corrupt(), TestDevice.NAME);
      AnswerLoss loss =
          AnswerLoss.of(
              GradFunction.LOGIT,
              AnswerFunction.AVG_DIFF,
              batches.get(0).answers(),
              batches.get(0).wrongAnswers());
      EdgeAttribution attribution = EdgeAttribution.of(clean, patch, loss);
      assertRefused(() -> attribution.withMaskValue(Double.NaN), "maskValue");
      assertRefused(() -> attribution.withMemoryLimit(0), "memoryLimit");
      assertRefused(() -> MaskGradient.builder().memoryLimit(-1), "memoryLimit");
      assertRefused(
          () -> model.maskGradient(EdgeAttribution.resampled(clean, corrupt, loss)),
          "corrupt tokens: expected [3, 5] like the clean ones, got [2, 5]");
    }
  }

  private static void assertRefused(Runnable call, String message) {
    assertThatThrownBy(call::run)
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining(message);
  }

  private static void assertLimitChangesNothing(
      PatchableModel model, List<PromptPairBatch> batches, MaskGradient.Builder builder) {
    double[] expected = builder.build().pruneScores(model, batches).toArray();
    long least = leastLimit(model, batches, builder);
    for (long limit : new long[] {least, 2 * least, 1L << 40}) {
      assertThat(builder.memoryLimit(limit).build().pruneScores(model, batches).toArray())
          .containsExactly(expected, within(1e-12));
    }
  }

  /** Returns what the refusal of a smaller one says. */
  private static long leastLimit(
      PatchableModel model, List<PromptPairBatch> batches, MaskGradient.Builder builder) {
    MaskGradient limited = builder.memoryLimit(1).build();
    NativeException refused =
        catchThrowableOfType(NativeException.class, () -> limited.pruneScores(model, batches));
    Matcher message =
        Pattern.compile("expected a memory limit of at least (\\d+) bytes")
            .matcher(refused.getMessage());
    assertThat(message.find()).isTrue();
    return Long.parseLong(message.group(1));
  }
}
