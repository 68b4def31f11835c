package org.autocircuit.prune;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.catchThrowableOfType;
import static org.autocircuit.Close.assertClose;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.LongStream;
import org.autocircuit.NativeScope;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.RandomModels;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.model.Precision;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.PatchType;
import org.autocircuit.patch.SourceActivations;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** All algorithms are used in the same way. */
@ExtendWith(NativeScope.class)
class PruneAlgorithmTest {

  private static final List<PromptPairBatch> BATCHES =
      List.of(
          RandomModels.promptPairs(RandomModels.SMALL, 2, 4, 1),
          RandomModels.promptPairs(RandomModels.SMALL, 1, 4, 2));

  private final PatchableModel model =
      RandomModels.patchable(
          RandomModels.SMALL, Precision.FLOAT64, PatchableModelOptions.defaults(), 5);

  private final int edges = model.graph().nEdges();
  private final EdgeSet circuit = EdgeSet.of(model.graph(), 3, 7);

  @AfterEach
  void close() {
    Thread.interrupted();
    model.close();
  }

  private List<PruneAlgorithm> all() {
    return List.of(
        MaskGradient.builder().build(),
        EdgeAttributionPatching.builder().build(),
        new ActivationMagnitude(),
        EdgeActivationPatching.builder().build(),
        Acdc.builder().thresholds(0.01, 0.1).build(),
        SubnetworkProbing.builder().epochs(3).build(),
        CircuitProbing.ofSizes(9, 4).withSettings(settings -> settings.epochs(2)),
        EdgePruning.builder().epochs(3).build(),
        RandomPruneScores.seeded(7),
        GroundTruthPruneScores.ofCircuit(circuit));
  }

  @Test
  void eachGivesTheSameScoresEachTimeAndCountsItsSteps() {
    List<Long> totals = new ArrayList<>();
    for (PruneAlgorithm algorithm : all()) {
      List<Long> steps = new ArrayList<>();
      PruneScores scores =
          algorithm.pruneScores(
              model,
              BATCHES,
              (done, total) -> {
                steps.add(done);
                if (done == total) {
                  totals.add(total);
                }
              });
      assertThat(steps)
          .as(algorithm.name())
          .isEqualTo(LongStream.rangeClosed(1, steps.size()).boxed().toList());
      assertThat(algorithm.pruneScores(model, BATCHES)).as(algorithm.name()).isEqualTo(scores);
      assertThat(scores.toArray()).as(algorithm.name()).doesNotContain(Double.NaN);
    }
    assertThat(totals).containsExactly(2L, 2L, 2L, 2L * edges, 2L * edges, 6L, 8L, 6L, 1L, 1L);
  }

  @Test
  void scoresThatHaveNoSignAreNotNegative() {
    for (PruneAlgorithm algorithm : all()) {
      boolean negative =
          algorithm.pruneScores(model, BATCHES).sorted().stream()
              .anyMatch(edge -> edge.score() < 0);
      assertThat(negative).as(algorithm.name()).isEqualTo(algorithm.sign() == ScoreSign.SIGNED);
    }
  }

  @Test
  void eachSaysWhatItMeasures() {
    assertThat(all())
        .extracting(PruneAlgorithm::name)
        .containsExactly(
            "edge attribution patching",
            "edge attribution patching without masks",
            "activation magnitude",
            "edge activation patching",
            "ACDC",
            "subnetwork probing",
            "circuit probing",
            "edge pruning",
            "random",
            "ground truth");
    assertThat(all())
        .extracting(PruneAlgorithm::unit)
        .containsExactly(
            "logits",
            "logits",
            "activations",
            "logits",
            "nats",
            "mask parameters",
            "none",
            "mask parameters",
            "none",
            "none");
    MaskGradient.Builder gradient = MaskGradient.builder().gradFunction(GradFunction.LOGPROB);
    assertThat(gradient.build().unit()).isEqualTo("nats");
    assertThat(gradient.targets(batch -> null).build().unit()).isEqualTo("squared nats");
    assertThat(gradient.maskValue(0.5).build().name()).isEqualTo("mask gradient at 0.5");
    assertThat(MaskGradient.builder().integratedGradSamples(5).build().name())
        .isEqualTo("mask gradient, integrated over 6 mask values");
    EdgeActivationPatching.Builder exact = EdgeActivationPatching.builder();
    exact.loss(GradFunction.PROB, AnswerFunction.AVG_VAL);
    assertThat(exact.build().unit()).isEqualTo("probabilities");
    assertThat(exact.loss(batch -> null).build().unit()).isEqualTo("units of the loss");
    PruneAlgorithm divergence = exact.loss(FaithfulnessTarget.MSE).build();
    assertThat(divergence.unit()).isEqualTo("squared logits");
    assertThat(divergence.sign()).isEqualTo(ScoreSign.UNSIGNED);
  }

  /** One that works for the answer is one whose patching makes the logit difference fall. */
  @Test
  void aPositiveScoreSaysThatPatchingTheEdgeHurts() {
    PruneScores exact = EdgeActivationPatching.builder().build().pruneScores(model, BATCHES);
    int best = model.graph().index(exact.sorted().get(0).edge());
    double[] scores = MaskGradient.builder().build().pruneScores(model, BATCHES).toArray();
    assertThat(Math.signum(scores[best])).isEqualTo(Math.signum(exact.get(best)));
  }

  @Test
  void whatIsDoneIsKeptAsScores() {
    for (PruneAlgorithm algorithm : all().subList(0, 8)) {
      StoppedException stopped =
          catchThrowableOfType(
              StoppedException.class,
              () ->
                  algorithm.pruneScores(
                      model,
                      BATCHES,
                      (done, total) -> {
                        if (done == total / 2) {
                          Thread.currentThread().interrupt();
                        }
                      }));
      assertThat(stopped).as(algorithm.name()).isNotNull();
      assertThat(Thread.interrupted()).isTrue();
      PruneScores partial = stopped.partial(PruneScores.class).orElseThrow();
      assertThat(partial).isNotEqualTo(algorithm.pruneScores(model, BATCHES));
    }
  }

  @Test
  void allButThoseThatLookAtNoPromptsWantSome() {
    for (PruneAlgorithm algorithm : all().subList(0, 8)) {
      assertThatIllegalArgumentException()
          .as(algorithm.name())
          .isThrownBy(() -> algorithm.pruneScores(model, List.of()))
          .withMessageContaining("batches: expected at least one, got none");
    }
  }

  /** Gradients of masks, and of what destinations read; each position has its own. */
  @Test
  void attributionIsTheSameWithMasksAndWithout() {
    for (PatchableModelOptions options :
        List.of(
            PatchableModelOptions.defaults(),
            PatchableModelOptions.defaults().withSeqLen(4).withSeparateQkv(false))) {
      try (PatchableModel other = model.withOptions(options)) {
        assertClose(
            options.toString(),
            EdgeAttributionPatching.builder().build().pruneScores(other, BATCHES).toArray(),
            MaskGradient.builder().build().pruneScores(other, BATCHES).toArray(),
            1e-12);
      }
    }
  }

  @Test
  void aCircuitOfAnotherGraphIsNoGroundTruth() {
    try (PatchableModel other = model.withOptions(PatchableModelOptions.defaults().withSeqLen(4))) {
      assertThatIllegalArgumentException()
          .isThrownBy(() -> GroundTruthPruneScores.ofCircuit(circuit).pruneScores(other, BATCHES))
          .withMessageContaining("trueEdges");
    }
  }

  @Test
  void acdcSearchesOnAllPromptsAtOnce() {
    Acdc acdc = Acdc.builder().thresholds(0.01, 0.1).build();
    PromptPairBatch joined = PromptPairBatch.join(BATCHES);
    assertThat(joined.size()).isEqualTo(3);
    double[] together = acdc.search(model, joined).scores().toArray();
    assertThat(acdc.pruneScores(model, BATCHES).toArray()).isEqualTo(together);
    assertThat(acdc.pruneScores(model, BATCHES.subList(0, 1)).toArray()).isNotEqualTo(together);
  }

  @Test
  void circuitProbingScoresBySmallestCircuit() {
    EdgeSet inner = EdgeSet.of(model.graph(), 3);
    PruneScores scores =
        CircuitProbing.ofCircuits(List.of(inner, circuit, EdgeSet.of(model.graph(), 3, 9)));
    assertThat(scores.get(3)).isEqualTo(3);
    assertThat(scores.get(7)).isEqualTo(2);
    assertThat(scores.get(9)).isEqualTo(1);
    assertThat(Arrays.stream(scores.toArray()).sum()).isEqualTo(6);
    for (int[] sizes : new int[][] {{}, {0, 3}, {3, 3}}) {
      assertThatIllegalArgumentException()
          .isThrownBy(() -> CircuitProbing.ofSizes(sizes))
          .withMessageContaining("sizes: expected different positive numbers");
    }
    assertThatIllegalArgumentException().isThrownBy(() -> CircuitProbing.ofCircuits(List.of()));
    assertThatIllegalArgumentException()
        .isThrownBy(
            () -> CircuitProbing.ofSizes(3).withSettings(settings -> settings.circuitSize(4)))
        .withMessageContaining("circuitSize");
  }

  @Test
  void edgesToAvoidLeaveTheCircuit() {
    for (PatchType patchType : PatchType.values()) {
      SubnetworkProbing.Builder builder =
          SubnetworkProbing.builder()
              .patchType(patchType)
              .maskFn(MaskFn.SIGMOID)
              .regularizeLambda(0.1)
              .epochs(10);
      double[] before = builder.build().pruneScores(model, BATCHES).toArray();
      builder.avoidEdges(circuit.edges()).avoidLambda(100);
      double[] scores = builder.build().pruneScores(model, BATCHES).toArray();
      assertThat(scores[3] - scores[4]).isLessThan(before[3] - before[4] - 0.1);
      assertThat(scores[7] - scores[4]).isLessThan(before[7] - before[4] - 0.1);
    }
    assertThatIllegalArgumentException()
        .isThrownBy(() -> SubnetworkProbing.builder().avoidLambda(2).build())
        .withMessageContaining("avoidLambda");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> SubnetworkProbing.builder().avoidLambda(-2))
        .withMessageContaining("got -2");
  }

  @Test
  void probingForSharesOfTheAnswersKeepsThem() {
    SubnetworkProbing.Builder builder =
        SubnetworkProbing.builder().answerShares().regularizeLambda(0);
    try (SourceActivations corrupt =
            model.sourceAblations(BATCHES, DatasetAblation.TOKENWISE_MEAN_CORRUPT);
        MaskTraining training = builder.maskFn(MaskFn.SIGMOID).build().begin(model, corrupt)) {
      double first = training.step(BATCHES.get(0)).faithfulness();
      double last = first;
      for (int step = 0; step < 40; step++) {
        last = training.step(BATCHES.get(0)).faithfulness();
      }
      assertThat(last).isPositive().isLessThan(0.7 * first);
    }
    assertThatIllegalArgumentException()
        .isThrownBy(() -> builder.faithfulnessTarget(FaithfulnessTarget.MSE).build())
        .withMessageContaining("faithfulnessTarget");
  }

  private static List<Ablation> ablations() {
    return List.of(
        BatchAblation.RESAMPLE, BatchAblation.ZERO, DatasetAblation.TOKENWISE_MEAN_CORRUPT);
  }

  @ParameterizedTest
  @MethodSource("ablations")
  void probingIsATrainingOfSoManyEpochs(Ablation type) {
    for (PatchType patchType : PatchType.values()) {
      SubnetworkProbing.Builder builder =
          SubnetworkProbing.builder().patchType(patchType).seed(3).regularizeLambda(0.5);
      double[] expected;
      try (SourceActivations mean =
              model.sourceAblations(BATCHES, DatasetAblation.TOKENWISE_MEAN_CORRUPT);
          MaskTraining training = builder.build().begin(model, mean)) {
        for (int epoch = 0; epoch < 2; epoch++) {
          for (PromptPairBatch batch : BATCHES) {
            long[][] other = patchType == PatchType.TREE_PATCH ? batch.corrupt() : batch.clean();
            try (SourceActivations own =
                type instanceof BatchAblation ofOne
                    ? model.sourceAblations(other, ofOne)
                    : model.sourceAblations(BATCHES, (DatasetAblation) type)) {
              training.step(batch, own);
            }
          }
        }
        expected = training.scores().toArray();
      }
      SubnetworkProbing probing = builder.ablation(type).epochs(2).build();
      assertClose("scores", probing.pruneScores(model, BATCHES).toArray(), expected, 1e-12);
    }
  }

  @Test
  void aTrainingStepByStepRefusesSettingsThatItWouldIgnore() {
    try (SourceActivations corrupt =
        model.sourceAblations(BATCHES.get(0).corrupt(), BatchAblation.RESAMPLE)) {
      assertThatIllegalArgumentException()
          .isThrownBy(() -> SubnetworkProbing.builder().epochs(3).build().begin(model, corrupt))
          .withMessageContaining("epochs");
      assertThatIllegalArgumentException()
          .isThrownBy(
              () ->
                  SubnetworkProbing.builder()
                      .ablation(BatchAblation.ZERO)
                      .build()
                      .begin(model, corrupt))
          .withMessageContaining("ablation");
      assertThatIllegalArgumentException()
          .isThrownBy(() -> SubnetworkProbing.builder().epochs(0))
          .withMessageContaining("got 0");
    }
  }
}
