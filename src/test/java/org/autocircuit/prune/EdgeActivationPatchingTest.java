package org.autocircuit.prune;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.TestDevice;
import org.autocircuit.TestModels;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.eval.KlDivergence;
import org.autocircuit.eval.Logits;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.MicroModelConfig;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class EdgeActivationPatchingTest {

  private final PatchableModel model =
      TestModels.patchable(Precision.FLOAT64, PatchableModelOptions.defaults());
  private final List<PromptPairBatch> batches =
      List.of(TestModels.batch(3, 5, 10), TestModels.batch(2, 5, 20));

  @AfterEach
  void close() {
    model.close();
  }

  /**
   * One block of the two heads {@code x -> w x}, w = (1, 1) and (0, 2), on clean (1, 2) and corrupt
   * (3, 5). The loss is minus the first logit plus the second; the logits are (2, 8).
   */
  @Test
  void aModelWorkedOutByHandWhereExactScoresAreGradients() {
    try (PointerScope scope = new PointerScope();
        Model weights =
            Model.of(
                new MicroModelConfig(1),
                Map.of("blocks.0.weights", input(new double[] {1, 1, 0, 2}, 2, 2)));
        PatchableModel micro = PatchableModel.of(weights, PatchableModelOptions.defaults());
        SourceActivations corrupt =
            micro.sourceAblations(input(new double[] {3, 5}, 1, 1, 2), BatchAblation.RESAMPLE)) {
      AnswerLoss loss =
          AnswerLoss.of(
              GradFunction.LOGIT, AnswerFunction.AVG_DIFF, new long[][] {{0}}, new long[][] {{1}});
      Tensor clean = input(new double[] {1, 2}, 1, 1, 2);
      PruneScores scores =
          EdgeActivationPatching.builder()
              .build()
              .pruneScores(micro, ModelInput.of(clean), corrupt, loss);
      // The embedding moves by (2, 3), head 0 by (2, 3), head 1 by (0, 6).
      ModelGraph graph = micro.graph();
      assertThat(scores.get(graph.index("Resid Start->Resid End"))).isEqualTo(1);
      assertThat(scores.get(graph.index("B0.0->Resid End"))).isEqualTo(1);
      assertThat(scores.get(graph.index("B0.1->Resid End"))).isEqualTo(6);
      assertThat(scores.get(graph.index("Resid Start->B0.0"))).isEqualTo(1);
      assertThat(scores.get(graph.index("Resid Start->B0.1"))).isEqualTo(6);
      // The model is linear, so the first-order approximation is exact.
      double[] gradient =
          TensorArrays.doubles(
              micro
                  .maskGradient(clean, PatchContext.of(corrupt, Masks.uniform(graph, 0)), loss)
                  .gradient());
      assertThat(scores.toArray()).containsExactly(gradient, within(1e-12));
    }
  }

  @ParameterizedTest
  @EnumSource(GradFunction.class)
  void scoresAreDifferencesOfTwoRunsAveragedOverPrompts(GradFunction function) {
    for (AnswerFunction answers :
        new AnswerFunction[] {AnswerFunction.AVG_DIFF, AnswerFunction.AVG_VAL}) {
      double[] scores =
          EdgeActivationPatching.builder()
              .loss(function, answers)
              .build()
              .pruneScores(model, batches)
              .toArray();
      for (int edge = 0; edge < scores.length; edge += 5) {
        double expected = 0;
        for (PromptPairBatch batch : batches) {
          AnswerLoss loss = AnswerLoss.of(function, answers, batch.answers(), batch.wrongAnswers());
          expected += batch.size() / 5.0 * (loss(batch, loss, edge) - loss(batch, loss, -1));
        }
        assertThat(scores[edge]).as("edge %d", edge).isCloseTo(expected, within(1e-12));
      }
      assertThat(Arrays.stream(scores).map(Math::abs).max().orElse(0)).isGreaterThan(1e-3);
    }
  }

  @Test
  void squaredDifferencesToTargets() {
    try (PointerScope scope = new PointerScope()) {
      PromptPairBatch batch = batches.get(0);
      Tensor targets = torch.ones(3, TestModels.CONFIG.dVocab()).to(ScalarType.Double);
      AnswerLoss loss = AnswerLoss.mse(GradFunction.LOGPROB, targets);
      double[] scores =
          EdgeActivationPatching.builder()
              .loss(any -> loss)
              .build()
              .pruneScores(model, List.of(batch))
              .toArray();
      for (int edge = 0; edge < scores.length; edge += 17) {
        assertThat(scores[edge])
            .isCloseTo(loss(batch, loss, edge) - loss(batch, loss, -1), within(1e-11));
      }
    }
  }

  @Test
  void divergencesFromThePlainModelAndMeansOfDataSets() {
    double[] scores =
        EdgeActivationPatching.builder()
            .loss(FaithfulnessTarget.KL_DIV)
            .ablation(DatasetAblation.TOKENWISE_MEAN_CORRUPT)
            .build()
            .pruneScores(model, batches)
            .toArray();
    try (PointerScope scope = new PointerScope();
        SourceActivations mean =
            model.sourceAblations(batches, DatasetAblation.TOKENWISE_MEAN_CORRUPT)) {
      for (int edge = 0; edge < scores.length; edge += 17) {
        PatchContext context =
            PatchContext.of(mean, Masks.ofEdges(model.graph(), List.of(model.graph().edge(edge))));
        double expected = 0;
        for (PromptPairBatch batch : batches) {
          Tensor tokens = TensorArrays.of(batch.clean(), "tokens", TestDevice.NAME);
          expected +=
              batch.size()
                  / 5.0
                  * KlDivergence.mean(
                      Logits.of(model.forward(tokens, context)),
                      Logits.of(model.forward(tokens, PatchContext.NONE)));
        }
        assertThat(scores[edge]).isCloseTo(expected, within(1e-12));
      }
    }
  }

  @Test
  void noChosenEdgesAreNoSteps() {
    PruneScores none =
        EdgeActivationPatching.builder().edges(List.of()).build().pruneScores(model, batches);
    assertThat(none.toArray()).containsOnly(0);
  }

  @Test
  void edgesThatWereNotChosenScoreNothing() {
    List<Edge> chosen = List.of(model.graph().edge(3), model.graph().edge("MLP 1->Resid End"));
    List<String> progress = new ArrayList<>();
    PruneScores some =
        EdgeActivationPatching.builder()
            .edges(chosen)
            .build()
            .pruneScores(model, batches, (done, total) -> progress.add(done + "/" + total));
    PruneScores all = EdgeActivationPatching.builder().build().pruneScores(model, batches);
    assertThat(progress).containsExactly("1/4", "2/4", "3/4", "4/4");
    assertThat(some.circuit(2).edges()).containsExactlyInAnyOrderElementsOf(chosen);
    for (int edge = 0; edge < model.graph().nEdges(); edge++) {
      boolean isChosen = chosen.contains(model.graph().edge(edge));
      assertThat(some.get(edge)).isCloseTo(isChosen ? all.get(edge) : 0, within(1e-12));
    }
  }

  @Test
  void settingsThatMakeNoSense() {
    assertThatIllegalArgumentException()
        .isThrownBy(
            () -> EdgeActivationPatching.builder().loss(GradFunction.LOGIT, AnswerFunction.MSE))
        .withMessageContaining("MSE");
    EdgeActivationPatching patching = EdgeActivationPatching.builder().build();
    assertThatIllegalArgumentException()
        .isThrownBy(() -> patching.pruneScores(model, List.of()))
        .withMessageContaining("at least one");
    long[][] tokens = TestModels.tokens(2, 4, 1);
    PromptPairBatch outside =
        new PromptPairBatch(
            TestModels.batch(2, 4, 1).pairs(), tokens, tokens, new long[][] {{1}, {99}}, tokens);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> patching.pruneScores(model, List.of(outside)))
        .withMessageContaining("expected tokens below 31, got 99 in row 1");
    try (PointerScope scope = new PointerScope()) {
      AnswerLoss loss = AnswerLoss.mse(GradFunction.LOGIT, torch.ones(3, 30));
      assertThatIllegalArgumentException()
          .isThrownBy(() -> loss.loss(torch.ones(4, 3, 31)))
          .withMessageContaining("[3, 31], got [3, 30]");
      assertThatIllegalArgumentException()
          .isThrownBy(() -> loss.loss(torch.ones(31)))
          .withMessageContaining("[runs, batch, d_vocab], got [31]");
    }
    model.close();
    assertThatThrownBy(() -> patching.pruneScores(model, batches))
        .isInstanceOf(IllegalStateException.class);
  }

  /** The loss with one edge patched, or none, computed in native code. */
  private double loss(PromptPairBatch batch, AnswerLoss loss, int edge) {
    double[] masks = new double[model.graph().nEdges()];
    if (edge >= 0) {
      masks[edge] = 1;
    }
    try (PointerScope scope = new PointerScope();
        SourceActivations corrupt =
            model.sourceAblations(batch.corrupt(), BatchAblation.RESAMPLE)) {
      PatchContext context = PatchContext.of(corrupt, Masks.of(model.graph(), masks));
      return model.maskGradient(batch.clean(), context, loss).loss().item_double();
    }
  }

  private static Tensor input(double[] values, long... shape) {
    return TensorArrays.of(values, ScalarType.Double, TestDevice.NAME, shape);
  }
}
