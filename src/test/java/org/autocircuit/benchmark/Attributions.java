package org.autocircuit.benchmark;

import java.util.Collections;
import java.util.List;
import java.util.function.LongSupplier;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPair;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.prune.ActivationIntegratedGradients;
import org.autocircuit.prune.AtpStarAttribution;
import org.autocircuit.prune.EdgePruning;
import org.autocircuit.prune.InputIntegratedGradients;
import org.autocircuit.prune.MaskGradient;
import org.autocircuit.prune.MaskTraining;
import org.autocircuit.prune.SubnetworkProbing;
import org.bytedeco.pytorch.Tensor;

/** Whole calls of algorithms that score all edges on one batch of prompt pairs. */
final class Attributions implements AutoCloseable {

  private static final int POINTS = 5;
  private static final int STEPS = 5;

  private final PatchableModel model;
  private final PromptPairBatch batch;
  private final SourceActivations activations;
  private MaskTraining training; // made when first needed

  /** The activations stay the caller's. */
  Attributions(
      PatchableModel model,
      Tensor clean,
      Tensor corrupt,
      long[][] answers,
      SourceActivations activations) {
    this.model = model;
    this.activations = activations;
    PromptPair pair = new PromptPair("clean", "corrupt", List.of("right"), List.of("wrong"));
    batch =
        new PromptPairBatch(
            Collections.nCopies(answers.length, pair),
            rows(clean),
            rows(corrupt),
            answers,
            answers);
  }

  private static long[][] rows(Tensor tokens) {
    long[] all = TensorArrays.longs(tokens);
    int seq = Math.toIntExact(tokens.size(1));
    long[][] rows = new long[all.length / seq][seq];
    for (int row = 0; row < rows.length; row++) {
      System.arraycopy(all, row * seq, rows[row], 0, seq);
    }
    return rows;
  }

  Object plain() {
    return MaskGradient.builder().build().pruneScores(model, List.of(batch));
  }

  Object ofEachPrompt() {
    double[] sum = {0};
    MaskGradient.builder()
        .build()
        .scorePrompts(model, List.of(batch), Progress.NONE, (pair, scores) -> sum[0] += scores[0]);
    return sum;
  }

  Object overInputs() {
    return InputIntegratedGradients.builder()
        .points(POINTS)
        .build()
        .pruneScores(model, List.of(batch));
  }

  Object overActivations() {
    return ActivationIntegratedGradients.builder()
        .points(POINTS)
        .build()
        .pruneScores(model, List.of(batch));
  }

  Object correctedQueriesAndKeys() {
    return AtpStarAttribution.builder().build().pruneScores(model, List.of(batch));
  }

  /** Nanoseconds of a step with masks of edges and nodes, without what comes once. */
  long edgePruningStep() {
    LongSupplier clock = Benchmarks.clock();
    long[] first = new long[1];
    long[] last = new long[1];
    EdgePruning.builder()
        .targetNodeSparsity(0.5)
        .ablation(DatasetAblation.TOKENWISE_MEAN_CORRUPT)
        .epochs(STEPS)
        .build()
        .pruneScores(
            model,
            List.of(batch),
            (done, total) -> {
              if (done == 1) {
                first[0] = clock.getAsLong();
              }
              last[0] = clock.getAsLong();
            });
    return (last[0] - first[0]) / (STEPS - 1);
  }

  /** Masks with noise for each prompt, in one native call: forward, backward, Adam. */
  Object trainingStep() {
    if (training == null) {
      training = SubnetworkProbing.builder().build().begin(model, activations);
    }
    return training.step(batch);
  }

  @Override
  public void close() {
    if (training != null) {
      training.close();
    }
  }
}
