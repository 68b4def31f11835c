package org.autocircuit.prune;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.function.Supplier;
import org.autocircuit.NativeScope;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.RandomModels;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.eval.AnswerScale;
import org.autocircuit.eval.CircuitMeasures;
import org.autocircuit.eval.CircuitRuns;
import org.autocircuit.eval.Evaluation;
import org.autocircuit.eval.FaithfulnessCurve;
import org.autocircuit.eval.PromptMetric;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.Checkpoint;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.DatasetAblation;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Calls that are stopped wherever it may be go on as if nothing had been. */
@ExtendWith(NativeScope.class)
class ResumableAlgorithmTest {

  private static final List<PromptPairBatch> BATCHES =
      List.of(
          RandomModels.promptPairs(RandomModels.SMALL, 2, 4, 1),
          RandomModels.promptPairs(RandomModels.SMALL, 3, 4, 2),
          RandomModels.promptPairs(RandomModels.SMALL, 1, 4, 3));

  private static final int ATTEMPTS = 10_000;

  private final PatchableModel model =
      RandomModels.patchable(
          RandomModels.SMALL, Precision.FLOAT32, PatchableModelOptions.defaults(), 5);

  private final Random random = new Random(7);

  @AfterEach
  void close() {
    Thread.interrupted();
    model.close();
  }

  /** Keeps what it is told, or only now and then, as a file does. */
  private static final class Memory implements Checkpoint {

    private final int each;
    private double[] state;
    private int told;

    Memory(int each) {
      this.each = each;
    }

    @Override
    public Optional<double[]> state() {
      return Optional.ofNullable(state).map(double[]::clone);
    }

    @Override
    public void keep(double[] value) {
      state = value.clone();
    }

    @Override
    public void reached(Supplier<double[]> value) {
      if (++told % each == 0) {
        keep(value.get());
      }
    }
  }

  /** A call that can go on. */
  private interface Call<T> {
    T make(Progress progress, Checkpoint checkpoint);
  }

  static List<ResumableAlgorithm> algorithms() {
    return List.of(
        MaskGradient.builder().build(),
        MaskGradient.builder().integratedGradSamples(3).build(),
        MaskGradient.builder().sumOfBatchMeans().ablation(BatchAblation.ZERO).build(),
        InputIntegratedGradients.builder().points(3).build(),
        ActivationIntegratedGradients.builder()
            .points(2)
            .ablation(DatasetAblation.TOKENWISE_MEAN_CORRUPT)
            .build(),
        CleanCorruptedAttribution.builder().build(),
        AtpStarAttribution.builder().build(),
        GimAttribution.builder().build(),
        EdgeActivationPatching.builder().build(),
        Acdc.builder().thresholds(0.001, 0.01, 0.1).build(),
        Acdc.builder().thresholds(0.01, 0.1).sequential().build(),
        SubnetworkProbing.builder().epochs(4).build(),
        EdgePruning.builder().epochs(4).targetNodeSparsity(0.5).build());
  }

  @ParameterizedTest
  @MethodSource("algorithms")
  void scoresAreThoseOfACallWithoutABreak(ResumableAlgorithm algorithm) {
    int stops =
        requireSame(
            algorithm.pruneScores(model, BATCHES),
            (progress, checkpoint) -> algorithm.pruneScores(model, BATCHES, progress, checkpoint));
    assertThat(stops).as(algorithm.name()).isPositive();
  }

  @Test
  void measuresAreThoseOfACallWithoutABreak() {
    PruneScores scores = RandomPruneScores.of(model.graph(), 3);
    Evaluation evaluation = Evaluation.of(PromptMetric.answerDifference(AnswerScale.LOGIT));
    FaithfulnessCurve curve = FaithfulnessCurve.measure(evaluation, model, BATCHES, scores, false);
    assertThat(
            requireSame(
                curve.toString() + curve.points().stream().map(p -> p.measures()).toList(),
                (progress, checkpoint) -> {
                  FaithfulnessCurve resumed =
                      FaithfulnessCurve.measure(
                          evaluation.withProgress(progress).withCheckpoint(checkpoint),
                          model,
                          BATCHES,
                          scores,
                          false);
                  assertThat(resumed.full().toArray()).isEqualTo(curve.full().toArray());
                  return resumed.toString()
                      + resumed.points().stream().map(p -> p.measures()).toList();
                }))
        .isPositive();
    CircuitRuns.Builder runs = CircuitRuns.builder(scores).sizes(List.of(3, 20, 50));
    List<CircuitMeasures> expected = List.copyOf(runs.build().measure(model, BATCHES).values());
    assertThat(
            requireSame(
                expected,
                (progress, checkpoint) ->
                    List.copyOf(
                        runs.progress(progress)
                            .build()
                            .measure(model, BATCHES, checkpoint)
                            .values())))
        .isPositive();
  }

  /** Makes a call until it ends, and returns how often it was stopped. */
  private <T> int requireSame(T expected, Call<T> call) {
    int all = 0;
    for (int each : new int[] {1, 3}) {
      Memory memory = new Memory(each);
      List<String> stops = new ArrayList<>();
      boolean ended = false;
      for (int attempt = 0; !ended && attempt < ATTEMPTS; attempt++) {
        long[] stop = {0};
        try {
          T found =
              call.make(
                  (done, total) -> {
                    if (stop[0] == 0) {
                      stop[0] = done + random.nextInt((int) (total / 3) + 1);
                    }
                    if (done == stop[0] && done < total) {
                      stops.add(done + " of " + total);
                      Thread.currentThread().interrupt();
                    }
                  },
                  memory);
          assertThat(found).as("stopped at %s", stops).isEqualTo(expected);
          ended = true;
        } catch (StoppedException e) {
          Thread.interrupted();
        }
      }
      assertThat(ended).as("stopped at %s", stops).isTrue();
      // All is done: nothing is computed once more.
      assertThat(
              call.make(
                  (done, total) -> {
                    throw new AssertionError("computed " + done);
                  },
                  memory))
          .isEqualTo(expected);
      all += stops.size();
    }
    return all;
  }

  @Test
  void theStateOfAnotherCallIsRefused() {
    for (ResumableAlgorithm algorithm : algorithms()) {
      Memory memory = new Memory(1);
      memory.keep(new double[] {1, 2, 3});
      assertThatIllegalArgumentException()
          .as(algorithm.name())
          .isThrownBy(() -> algorithm.pruneScores(model, BATCHES, Progress.NONE, memory))
          .withMessageContaining("checkpoint: expected ");
    }
  }
}
