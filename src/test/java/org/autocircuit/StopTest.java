package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;
import static org.autocircuit.Close.assertClose;

import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.eval.AnswerScale;
import org.autocircuit.eval.CircuitMeasures;
import org.autocircuit.eval.CircuitOutputs;
import org.autocircuit.eval.CircuitRuns;
import org.autocircuit.eval.Evaluation;
import org.autocircuit.eval.FaithfulnessCurve;
import org.autocircuit.eval.PromptMetric;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.prune.Acdc;
import org.autocircuit.prune.AcdcResult;
import org.autocircuit.prune.EdgeActivationPatching;
import org.autocircuit.prune.MaskGradient;
import org.autocircuit.prune.MaskTraining;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.RandomPruneScores;
import org.autocircuit.prune.SubnetworkProbing;
import org.autocircuit.train.IndirectObjectTraining;
import org.autocircuit.train.TrainingOptions;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;

/** Interrupting a thread stops the long call that it is in, which keeps what is done. */
@ExtendWith(NativeScope.class)
class StopTest {

  private static final List<PromptPairBatch> BATCHES =
      List.of(
          RandomModels.promptPairs(RandomModels.SMALL, 2, 4, 1),
          RandomModels.promptPairs(RandomModels.SMALL, 3, 4, 2),
          RandomModels.promptPairs(RandomModels.SMALL, 1, 4, 3));

  private final PatchableModel model =
      RandomModels.patchable(
          RandomModels.SMALL, Precision.FLOAT64, PatchableModelOptions.defaults(), 5);

  private final int edges = model.graph().nEdges();

  @TempDir Path folder;

  @AfterEach
  void close() {
    Thread.interrupted();
    model.close();
  }

  /** Runs something that interrupts its own thread; the model works afterwards. */
  private StoppedException stopped(ThrowingCallable call) {
    StoppedException stopped = catchThrowableOfType(StoppedException.class, call);
    assertThat(stopped).as("the call went on").isNotNull();
    assertThat(stopped).hasMessageContaining("interrupted");
    assertThat(Thread.interrupted()).as("the interrupt status").isTrue();
    model.logits(BATCHES.get(0).clean());
    return stopped;
  }

  private static void interruptAt(long when, long done) {
    if (done == when) {
      Thread.currentThread().interrupt();
    }
  }

  private static PruneScores scores(StoppedException stopped) {
    return stopped.partial(PruneScores.class).orElseThrow();
  }

  @Test
  void maskGradientKeepsTheMeanOfTheBatchesDone() {
    MaskGradient.Builder builder = MaskGradient.builder().integratedGradSamples(2);
    PruneScores expected = builder.build().pruneScores(model, BATCHES.subList(0, 2));
    // Two batches of three gradients each, and one gradient of the third.
    PruneScores partial =
        scores(
            stopped(
                () ->
                    builder
                        .build()
                        .pruneScores(model, BATCHES, (done, total) -> interruptAt(7, done))));
    assertClose("scores", partial.toArray(), expected.toArray(), 1e-12);
  }

  @Test
  void whatIsInterruptedBeforeItBeginsDoesNothing() {
    StoppedException stopped =
        stopped(
            () -> {
              Thread.currentThread().interrupt();
              MaskGradient.builder().build().pruneScores(model, BATCHES);
            });
    assertThat(stopped.partial(PruneScores.class)).isEmpty();
  }

  @Test
  void edgeActivationPatchingKeepsEachEdgesMean() {
    int more = 10;
    EdgeActivationPatching.Builder builder = EdgeActivationPatching.builder();
    double[] one = builder.build().pruneScores(model, BATCHES.subList(0, 1)).toArray();
    double[] two = builder.build().pruneScores(model, BATCHES.subList(0, 2)).toArray();
    Progress progress = (done, total) -> interruptAt(edges + more, done);
    PruneScores partial =
        scores(stopped(() -> builder.build().pruneScores(model, BATCHES, progress)));
    double[] expected = one.clone();
    System.arraycopy(two, 0, expected, 0, more);
    assertClose("scores", partial.toArray(), expected, 1e-12);
    assertThat(Arrays.equals(one, two)).isFalse();
  }

  @Test
  void acdcKeepsItsDecisionsAndTheRunsThatHadEnded() {
    double[] expected = new double[edges];
    Arrays.fill(expected, Double.POSITIVE_INFINITY);
    Acdc stopping =
        Acdc.builder()
            .thresholds(0.1, 0.01)
            .listener(
                decision -> {
                  if (decision.removed()) {
                    int edge = model.graph().index(decision.edge());
                    expected[edge] = Math.min(expected[edge], decision.threshold());
                  }
                  interruptAt(edges + 20, decision.done());
                })
            .build();
    StoppedException stopped = stopped(() -> stopping.search(model, BATCHES.get(0)));
    AcdcResult partial = stopped.partial(AcdcResult.class).orElseThrow();
    assertThat(partial.scores().toArray()).isEqualTo(expected);
    assertThat(partial.thresholds()).containsExactly(0.1);
    assertThat(expected).contains(0.1, 0.01);
  }

  @Test
  void circuitRunsKeepOutputsAndMeasures() {
    List<Integer> sizes = List.of(3, 20);
    CircuitRuns.Builder builder =
        CircuitRuns.builder(RandomPruneScores.of(model.graph(), 3)).sizes(sizes);
    CircuitOutputs all = builder.build().run(model, BATCHES);
    Map<Integer, CircuitMeasures> first = builder.build().measure(model, BATCHES.subList(0, 1));
    CircuitRuns stopping = builder.progress((done, total) -> interruptAt(3, done)).build();

    CircuitOutputs outputs =
        stopped(() -> stopping.run(model, BATCHES)).partial(CircuitOutputs.class).orElseThrow();
    assertThat(outputs.of(3)).hasSize(2);
    assertThat(outputs.of(20)).hasSize(1);
    assertThat(outputs.of(3).get(1).toArray()).isEqualTo(all.of(3).get(1).toArray());

    Map<?, ?> measures =
        stopped(() -> stopping.measure(model, BATCHES)).partial(Map.class).orElseThrow();
    assertThat(measures.get(20)).isEqualTo(first.get(20));
    assertThat(measures.get(3)).isNotEqualTo(first.get(3));
  }

  @Test
  void evaluationsKeepWhatIsDoneOnTheSamePrompts() {
    Evaluation plain = Evaluation.of(PromptMetric.answerDifference(AnswerScale.LOGIT));
    PruneScores scores = RandomPruneScores.of(model.graph(), 3);
    List<EdgeSet> circuits = List.of(scores.circuit(3), scores.circuit(20));
    for (int stop : new int[] {1, 2, 3, 4}) {
      Evaluation stopping = plain.withProgress((done, total) -> interruptAt(stop, done));
      List<?> partial =
          stopped(() -> stopping.measure(model, BATCHES, circuits))
              .partial(List.class)
              .orElseThrow();
      int whole = Math.max(1, stop / 2);
      assertThat(partial)
          .isEqualTo(
              plain.measure(
                  model, BATCHES.subList(0, whole), circuits.subList(0, stop < 2 ? 1 : 2)));
    }

    // None, all, 1, 3, 7, 15 and 37 edges.
    for (int stop : new int[] {1, 6, 13}) {
      Evaluation stopping = plain.withProgress((done, total) -> interruptAt(stop, done));
      Optional<FaithfulnessCurve> partial =
          stopped(() -> FaithfulnessCurve.measure(stopping, model, BATCHES, scores, false))
              .partial(FaithfulnessCurve.class);
      assertThat(partial.isPresent()).isEqualTo(stop > 1);
      FaithfulnessCurve first =
          FaithfulnessCurve.measure(plain, model, BATCHES.subList(0, 1), scores, false);
      partial.ifPresent(
          curve -> {
            assertThat(curve.full()).isEqualTo(first.full());
            assertThat(curve.points())
                .extracting(FaithfulnessCurve.Point::values)
                .isEqualTo(
                    first.points().stream()
                        .filter(point -> stop > 6 || point.values().edges() != 37)
                        .map(FaithfulnessCurve.Point::values)
                        .toList());
          });
    }
  }

  @Test
  void meansOfDataSetsStop() {
    stopped(
        () -> {
          Thread.currentThread().interrupt();
          model.sourceAblations(BATCHES, DatasetAblation.TOKENWISE_MEAN_CLEAN);
        });
    stopped(
        () -> {
          Thread.currentThread().interrupt();
          CircuitMeasures.ofModel(model, BATCHES);
        });
  }

  @Test
  void probingStaysAsTheLastStepLeftIt() {
    try (SourceActivations mean =
            model.sourceAblations(BATCHES, DatasetAblation.TOKENWISE_MEAN_CORRUPT);
        MaskTraining probing = SubnetworkProbing.builder().build().begin(model, mean)) {
      probing.step(BATCHES.get(0));
      double[] before = probing.masks().toArray();
      stopped(
          () -> {
            Thread.currentThread().interrupt();
            probing.step(BATCHES.get(0));
          });
      assertThat(probing.steps()).isEqualTo(1);
      assertThat(probing.masks().toArray()).isEqualTo(before);
      probing.step(BATCHES.get(0));
      assertThat(probing.steps()).isEqualTo(2);
    }
  }

  @Test
  void aTrainingThatWasStoppedCanBeSaved() {
    TrainingOptions options =
        TrainingOptions.DEFAULT
            .withSteps(60, 3)
            .withAccuracyGoal(1)
            .withMeasureEvery(3)
            .withBatchSize(8)
            .withLearningRate(1e-3);
    try (IndirectObjectTraining training =
        new IndirectObjectTraining(IndirectObjectTraining.config(2, 32, 4), options)) {
      stopped(
          () ->
              training.run(
                  (step, loss, coolingDown, scores) -> Thread.currentThread().interrupt()));
      training.save(folder);
      try (PatchableModel saved = PatchableModel.open(folder)) {
        long[][] prompt = {{1, 2, 3}};
        assertThat(saved.logits(prompt)).isDeepEqualTo(training.model().logits(prompt));
      }
    }
  }
}
