package org.autocircuit.prune;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.TestModels;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.PrefixCache;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class MaskGradientTest {

  private final PatchableModel model =
      TestModels.patchable(Precision.FLOAT64, PatchableModelOptions.defaults());
  private final List<PromptPairBatch> batches =
      List.of(TestModels.batch(3, 5, 10), TestModels.batch(2, 5, 20));

  @AfterEach
  void close() {
    model.close();
  }

  @Test
  void progressCountsBatchesAndMaskValues() {
    List<String> progress = new ArrayList<>();
    MaskGradient.builder()
        .integratedGradSamples(2)
        .build()
        .pruneScores(model, batches, (done, total) -> progress.add(done + "/" + total));
    assertThat(progress).containsExactly("1/6", "2/6", "3/6", "4/6", "5/6", "6/6");
  }

  @Test
  void paddedPromptsScoreAsTheyDoAlone() {
    List<PromptPairBatch> alone =
        List.of(TestModels.batch(1, 3, 10), TestModels.batch(1, 5, 20), TestModels.batch(1, 4, 30));
    MaskGradient scorer = MaskGradient.builder().integratedGradSamples(2).build();
    double[] each = scorer.pruneScores(model, alone).toArray();
    assertClose(scorer.pruneScores(model, List.of(TestModels.together(alone))).toArray(), each);
  }

  @Test
  void aPrefixStandsBeforeAllPrompts() {
    try (PrefixCache prefix = model.prefixOf(new long[][] {{1, 2}});
        PatchableModel after = model.withPrefix(prefix)) {
      double[] scores = MaskGradient.builder().build().pruneScores(after, batches).toArray();
      double[] three = gradient(after, batches.get(0));
      double[] two = gradient(after, batches.get(1));
      double[] expected = new double[scores.length];
      Arrays.setAll(expected, i -> 0.6 * three[i] + 0.4 * two[i]);
      assertClose(scores, expected);
      assertThat(scores)
          .isNotEqualTo(MaskGradient.builder().build().pruneScores(model, batches).toArray());
    }
  }

  @Test
  void theScoreOfAnEdgeIsTheSlopeOfTheLoss() {
    PromptPairBatch batch = batches.get(0);
    double[] scores = MaskGradient.builder().build().pruneScores(model, List.of(batch)).toArray();
    try (PointerScope scope = new PointerScope();
        SourceActivations patch = model.sourceAblations(batch.corrupt(), BatchAblation.RESAMPLE)) {
      for (int index = 0; index < scores.length; index += 13) {
        double[] masks = new double[scores.length];
        masks[index] = 1e-6;
        double above = loss(batch, patch, masks);
        masks[index] = -1e-6;
        double below = loss(batch, patch, masks);
        assertThat(scores[index]).isCloseTo((above - below) / 2e-6, within(1e-6));
      }
    }
  }

  @Test
  void ablationsOfDataSetsAndOfCleanPrompts() {
    double[] zero =
        MaskGradient.builder()
            .patchInput(CleanCorrupt.CLEAN)
            .build()
            .pruneScores(model, batches)
            .toArray();
    assertThat(zero)
        .usingElementComparator((a, b) -> Math.abs(a - b) < 1e-12 ? 0 : 1)
        .containsOnly(0);
    double[] mean =
        MaskGradient.builder()
            .ablation(DatasetAblation.TOKENWISE_MEAN_CORRUPT)
            .build()
            .pruneScores(model, batches)
            .toArray();
    assertThat(Arrays.stream(mean).map(Math::abs).max().orElseThrow()).isGreaterThan(1e-4);
  }

  @Test
  void allLosses() {
    for (GradFunction gradFunction : GradFunction.values()) {
      for (AnswerFunction answerFunction : AnswerFunction.values()) {
        MaskGradient.Builder builder = MaskGradient.builder().gradFunction(gradFunction);
        if (answerFunction == AnswerFunction.MSE) {
          builder.targets(batch -> torch.zeros(batch.size(), 31).to(ScalarType.Double));
        } else {
          builder.answerFunction(answerFunction);
        }
        try (PointerScope scope = new PointerScope()) {
          double[] scores = builder.build().pruneScores(model, batches).toArray();
          assertThat(Arrays.stream(scores).map(Math::abs).max().orElseThrow())
              .isGreaterThan(0)
              .isFinite();
        }
      }
    }
  }

  @Test
  void settingsThatContradictEachOtherAreRefused() {
    assertThatThrownBy(() -> MaskGradient.builder().maskValue(0.5).integratedGradSamples(3).build())
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("got both");
    assertThatThrownBy(() -> MaskGradient.builder().integratedGradSamples(0))
        .isInstanceOf(IllegalArgumentException.class);
    assertThatThrownBy(() -> MaskGradient.builder().answerFunction(AnswerFunction.MSE).build())
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("targets");
    assertThatThrownBy(() -> MaskGradient.builder().build().pruneScores(model, List.of()))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("at least one");
  }

  private static double[] gradient(PatchableModel on, PromptPairBatch batch) {
    try (PointerScope scope = new PointerScope();
        SourceActivations patch = on.sourceAblations(batch.corrupt(), BatchAblation.RESAMPLE)) {
      PatchContext context = PatchContext.of(patch, Masks.uniform(on.graph(), 0));
      return TensorArrays.doubles(on.maskGradient(batch.clean(), context, loss(batch)).gradient());
    }
  }

  private double loss(PromptPairBatch batch, SourceActivations patch, double[] masks) {
    PatchContext context = PatchContext.of(patch, Masks.of(model.graph(), masks));
    return model.maskGradient(batch.clean(), context, loss(batch)).loss().item_double();
  }

  private static AnswerLoss loss(PromptPairBatch batch) {
    return AnswerLoss.of(
        GradFunction.LOGIT, AnswerFunction.AVG_DIFF, batch.answers(), batch.wrongAnswers());
  }

  private static void assertClose(double[] actual, double[] expected) {
    assertThat(actual).containsExactly(expected, within(1e-12));
  }
}
