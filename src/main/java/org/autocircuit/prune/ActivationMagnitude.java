package org.autocircuit.prune;

import java.util.Arrays;
import java.util.Collection;
import java.util.Objects;
import java.util.Optional;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.graph.DestModule;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.Stop;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.patch.Use;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Scores each edge by how great its source's output is on the clean prompts, a baseline that knows
 * nothing of answers; the counterpart of the Python original's {@code
 * activation_magnitude_prune_scores}, which has no settings either. A magnitude is the absolute
 * value of the mean over positions and components. All edges of a source have the same score.
 *
 * <p>Every prompt counts once: a score is the mean of the magnitudes of all prompts, each over its
 * own tokens. The original takes the magnitude of the mean of a whole batch: {@link #ofBatchMeans}.
 * Unlike the original, edges of destinations that do not read the first source, in graphs that are
 * not factorised, have the scores of their own sources.
 *
 * <p>Immutable; safe to share between threads.
 */
public final class ActivationMagnitude implements PruneAlgorithm {

  private final boolean ofBatchMeans;

  /** Makes the algorithm. */
  public ActivationMagnitude() {
    this(false);
  }

  private ActivationMagnitude(boolean ofBatchMeans) {
    this.ofBatchMeans = ofBatchMeans;
  }

  /**
   * This algorithm as the original has it: the mean over batches of the magnitude of each batch's
   * mean over prompts, positions and components. Scores depend on how prompts are cut into batches.
   */
  public ActivationMagnitude ofBatchMeans() {
    return new ActivationMagnitude(true);
  }

  /**
   * Scores of activations that the caller made, as of one batch in the original.
   *
   * @param activations of all prompts, positions and components, none of them padding
   * @throws IllegalArgumentException if they are those of another number of sources
   * @throws IllegalStateException if they are closed
   */
  public static PruneScores of(ModelGraph graph, SourceActivations activations) {
    try (Use use = activations.use();
        CallScope scope = new CallScope()) {
      Tensor tensor = activations.tensor();
      if (tensor.size(0) != graph.srcs().size()) {
        throw new IllegalArgumentException(
            "activations: expected those of %s sources, got shape %s"
                .formatted(graph.srcs().size(), Arrays.toString(tensor.shape())));
      }
      return scores(graph, magnitudes(promptMeans(tensor, Optional.empty()), true), 1);
    }
  }

  @Override
  public String name() {
    return "activation magnitude";
  }

  @Override
  public String unit() {
    return "activations";
  }

  @Override
  public ScoreSign sign() {
    return ScoreSign.UNSIGNED;
  }

  /**
   * Scores the edges of a model, in a pass for each batch.
   *
   * @param progress is told of each batch
   * @throws StoppedException if it was stopped; has the {@code PruneScores} of the batches done
   */
  @Override
  public PruneScores pruneScores(
      PatchableModel model, Collection<? extends PromptPairBatch> batches, Progress progress) {
    Objects.requireNonNull(progress, "progress");
    PatchedBatches.requireSome(batches);
    double[] sum = new double[model.graph().srcs().size()];
    int counted = 0;
    int done = 0;
    try (Use use = model.use()) {
      for (PromptPairBatch batch : batches) {
        Stop.check();
        double[] some = magnitudes(model, batch);
        Arrays.setAll(sum, src -> sum[src] + some[src]);
        counted += ofBatchMeans ? 1 : batch.size();
        progress.report(++done, batches.size());
      }
    } catch (StoppedException e) {
      throw new StoppedException(e, done == 0 ? null : scores(model.graph(), sum, counted));
    }
    return scores(model.graph(), sum, counted);
  }

  private double[] magnitudes(PatchableModel model, PromptPairBatch batch) {
    try (CallScope scope = new CallScope();
        SourceActivations clean = model.sourceAblations(batch.clean(), BatchAblation.RESAMPLE)) {
      ModelInput input = ModelInput.ofPrompts(batch.clean(), model.device());
      Tensor means = promptMeans(clean.tensor(), input.attentionMask());
      model.precision().requireFinite("activations", means);
      return magnitudes(means, ofBatchMeans);
    }
  }

  /**
   * Means of each source and prompt over its positions and components, {@code [n_srcs, batch]}.
   *
   * @param activations {@code [n_srcs, batch, seq, d_model]}
   * @param mask {@code [batch, seq]}, 0 for padding
   */
  private static Tensor promptMeans(Tensor activations, Optional<Tensor> mask) {
    Tensor means =
        activations.mean(new long[] {-1}, false, new ScalarTypeOptional(ScalarType.Double));
    if (mask.isEmpty()) {
      return means.mean(-1);
    }
    Tensor own = mask.get().ne(new Scalar(0));
    return means.masked_fill(own.logical_not(), new Scalar(0)).sum(-1).div(own.sum(-1));
  }

  /** Of the batch's mean, or of each prompt's, added up. */
  private static double[] magnitudes(Tensor promptMeans, boolean ofMean) {
    return TensorArrays.doubles(ofMean ? promptMeans.mean(-1).abs() : promptMeans.abs().sum(-1));
  }

  private static PruneScores scores(ModelGraph graph, double[] sum, int counted) {
    double[] scores = new double[graph.nEdges()];
    for (DestModule module : graph.destModules()) {
      for (int i = module.offset(); i < module.end(); i++) {
        scores[i] = sum[module.srcIdx(i)] / counted;
      }
    }
    return PruneScores.wrap(graph, scores);
  }
}
