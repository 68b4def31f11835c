package org.autocircuit.prune;

import java.util.Arrays;
import java.util.Collection;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.function.BiConsumer;
import java.util.function.Function;
import org.autocircuit.PatchableModel;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.attribution.BackwardRules;
import org.autocircuit.attribution.EdgeAttribution;
import org.autocircuit.attribution.MaskGradientResult;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.Numbers;
import org.autocircuit.internal.StateReader;
import org.autocircuit.internal.StateWriter;
import org.autocircuit.internal.Stop;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.pass.Checkpoint;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.patch.Use;
import org.bytedeco.pytorch.Tensor;

/**
 * Scores edges by the gradient of a loss with respect to their masks; the counterpart of the Python
 * original's {@code mask_gradient_prune_scores}. At mask value 0 this is edge attribution patching
 * (Syed et al. 2023): the score is, to first order, how much the loss grows when the edge is
 * patched. With several samples it integrates the gradient along the line from no edge patched to
 * all edges patched.
 *
 * <p>The loss is minus the answers' difference or value, so a positive score says that patching the
 * edge hurts. <b>Every prompt counts once</b>: a score is the mean over all prompts, and over the
 * sampled mask values, of the gradient of each prompt's own loss, whatever batches the prompts come
 * in and in which order. It has the unit of the loss: logits for {@link GradFunction#LOGIT}, nats
 * for {@link GradFunction#LOGPROB}, probability for {@link GradFunction#PROB}. A prompt of several
 * answers counts once, with the mean over its answers. Only ablations that are means of one batch
 * ({@link BatchAblation#BATCH_TOKENWISE_MEAN}, {@link BatchAblation#BATCH_ALL_TOK_MEAN}) depend on
 * the batches, as their names say. The original adds up batches and mask values instead: {@link
 * Builder#sumOfBatchMeans}.
 *
 * <pre>{@code
 * PruneScores scores = MaskGradient.builder().build().pruneScores(model, batches);
 * }</pre>
 *
 * <p>Immutable; safe to share between threads.
 */
public final class MaskGradient implements PromptAlgorithm, ResumableAlgorithm {

  private final GradFunction gradFunction;
  private final AnswerFunction answerFunction;
  private final double[] maskValues;
  private final Ablation ablation;
  private final CleanCorrupt patchInput;
  private final Optional<Function<? super PromptPairBatch, Tensor>> targets;
  private final OptionalLong memoryLimit;
  private final boolean sumOfBatchMeans;
  private final BackwardRules rules;

  private MaskGradient(Builder builder) {
    gradFunction = builder.gradFunction;
    answerFunction = builder.answerFunction;
    maskValues = builder.maskValues();
    ablation = builder.ablation;
    patchInput = builder.patchInput;
    targets = Optional.ofNullable(builder.targets);
    memoryLimit = builder.memoryLimit;
    sumOfBatchMeans = builder.sumOfBatchMeans;
    rules = builder.rules;
  }

  /**
   * Begins with logits, the difference of right and wrong answers, mask value 0, and resampling
   * from corrupt prompts.
   */
  public static Builder builder() {
    return new Builder();
  }

  @Override
  public String name() {
    if (maskValues.length > 1) {
      return "mask gradient, integrated over %s mask values".formatted(maskValues.length);
    }
    return maskValues[0] == 0 ? "edge attribution patching" : "mask gradient at " + maskValues[0];
  }

  @Override
  public String unit() {
    String unit = gradFunction.unit();
    return answerFunction == AnswerFunction.MSE ? "squared " + unit : unit;
  }

  @Override
  public ScoreSign sign() {
    return ScoreSign.SIGNED;
  }

  /**
   * Scores the edges of a model. Runs each batch on its clean prompts, at the last position.
   *
   * @param model its masks are not touched
   * @param batches at least one
   * @param progress is told of each gradient: one for each batch and mask value
   * @param checkpoint is told of each batch
   * @throws IllegalArgumentException if there is no batch, or one does not fit the model
   * @throws IllegalStateException if the model is closed
   * @throws org.autocircuit.exception.NotFiniteException if a logit or a score is NaN or infinite
   * @throws StoppedException if it was stopped; has the {@code PruneScores} of the batches done
   * @throws org.autocircuit.exception.NativeException if not even one prompt fits into the limit of
   *     memory
   */
  @Override
  public PruneScores pruneScores(
      PatchableModel model,
      Collection<? extends PromptPairBatch> batches,
      Progress progress,
      Checkpoint checkpoint) {
    Steps steps = new Steps(batches, progress);
    double[] scores = steps.resume(model.graph(), checkpoint.state());
    try (Use use = model.use()) {
      forEach(
          model,
          batches,
          steps.finishedBatches,
          (batch, activations) -> {
            addBatch(model, batch, activations, scores, steps);
            checkpoint.reached(steps::state);
          });
    } catch (StoppedException e) {
      if (steps.finishedBatches > 0) {
        checkpoint.keep(steps.state());
      }
      throw new StoppedException(e, steps.partial(model.graph()));
    }
    checkpoint.keep(steps.state());
    return PruneScores.of(model.graph(), scores);
  }

  /**
   * {@inheritDoc}
   *
   * @throws IllegalArgumentException if scores are to be sums of the means of batches, which
   *     prompts have no part in, too
   */
  @Override
  public void scorePrompts(
      PatchableModel model,
      Collection<? extends PromptPairBatch> batches,
      Progress progress,
      PromptSink sink) {
    Objects.requireNonNull(sink, "sink");
    if (sumOfBatchMeans) {
      throw new IllegalArgumentException(
          "sumOfBatchMeans: expected means over prompts where each prompt's scores are asked for");
    }
    Steps steps = new Steps(batches, progress);
    try (Use use = model.use()) {
      forEach(
          model,
          batches,
          0,
          (batch, activations) -> promptScores(model, batch, activations, steps, sink));
    }
  }

  private void promptScores(
      PatchableModel model,
      PromptPairBatch batch,
      Optional<SourceActivations> activations,
      Steps steps,
      PromptSink sink) {
    double[] scores = new double[Math.multiplyExact(batch.size(), model.graph().nEdges())];
    double weight = 1.0 / maskValues.length;
    addGradients(model, batch, activations, weight, /* perPrompt= */ true, scores, steps);
    PatchedBatches.eachPrompt(batch, scores, sink);
  }

  /** Visits batches with their activations; empty if each gradient makes its own. */
  private void forEach(
      PatchableModel model,
      Collection<? extends PromptPairBatch> batches,
      int from,
      BiConsumer<PromptPairBatch, Optional<SourceActivations>> visitor) {
    if (ablation == BatchAblation.RESAMPLE && (memoryLimit.isPresent() || maskValues.length == 1)) {
      // Activations of a whole batch may be what does not fit, and nothing else needs them.
      PatchedBatches.requireSome(batches);
      batches.stream().skip(from).forEach(batch -> visitor.accept(batch, Optional.empty()));
    } else {
      PatchedBatches.forEach(
          model,
          batches,
          ablation,
          patchInput,
          1,
          from,
          (batch, activations) -> visitor.accept(batch, Optional.of(activations)));
    }
  }

  private void addBatch(
      PatchableModel model,
      PromptPairBatch batch,
      Optional<SourceActivations> activations,
      double[] scores,
      Steps steps) {
    double weight = steps.weight(batch);
    addGradients(model, batch, activations, weight, /* perPrompt= */ false, scores, steps);
    steps.finished(batch, scores);
  }

  /** Adds the gradients at all mask values, each with a weight. */
  private void addGradients(
      PatchableModel model,
      PromptPairBatch batch,
      Optional<SourceActivations> activations,
      double weight,
      boolean perPrompt,
      double[] scores,
      Steps steps) {
    for (double maskValue : maskValues) {
      Stop.check();
      try (CallScope scope = new CallScope()) {
        double[] values =
            TensorArrays.doubles(gradient(model, batch, activations, maskValue, perPrompt));
        for (int i = 0; i < scores.length; i++) {
          scores[i] += weight * values[i];
        }
      }
      steps.did();
    }
  }

  private Tensor gradient(
      PatchableModel model,
      PromptPairBatch batch,
      Optional<SourceActivations> activations,
      double maskValue,
      boolean perPrompt) {
    AnswerLoss loss = loss(batch);
    ModelInput clean = ModelInput.ofPrompts(batch.clean(), model.device());
    EdgeAttribution attribution =
        activations
            .map(given -> EdgeAttribution.of(clean, given, loss))
            .orElseGet(
                () ->
                    EdgeAttribution.resampled(
                        clean, ModelInput.ofPrompts(patchInput.of(batch), model.device()), loss));
    attribution =
        attribution
            .withMaskValue(maskValue)
            .withMemoryLimit(memoryLimit.orElse(Long.MAX_VALUE))
            .withRules(rules);
    MaskGradientResult result =
        model.maskGradient(perPrompt ? attribution.withPerPrompt() : attribution);
    model.precision().requireFinite("logits", result.logits());
    model.precision().requireFinite("scores", result.gradient());
    return result.gradient();
  }

  private AnswerLoss loss(PromptPairBatch batch) {
    return targets
        .map(target -> AnswerLoss.mse(gradFunction, target.apply(batch)))
        .orElseGet(
            () ->
                AnswerLoss.of(gradFunction, answerFunction, batch.answers(), batch.wrongAnswers()));
  }

  /** Counts the gradients, and says what each of them weighs. */
  private final class Steps {
    private final Progress progress;
    private final long total;
    private final int prompts;
    private long done;
    private int finishedBatches;
    private int finishedPrompts;
    private double[] finished = {};

    Steps(Collection<? extends PromptPairBatch> batches, Progress progress) {
      this.progress = Objects.requireNonNull(progress, "progress");
      total = (long) batches.size() * maskValues.length;
      prompts = batches.stream().mapToInt(PromptPairBatch::size).sum();
    }

    /** Returns the sums to resume from. */
    double[] resume(ModelGraph graph, Optional<double[]> state) {
      if (state.isPresent()) {
        StateReader reader = new StateReader(state.get());
        finishedBatches = (int) reader.nextCount(total / maskValues.length);
        finishedPrompts = (int) reader.nextCount(prompts);
        finished = reader.next(graph.maskSize());
        reader.end();
        done = (long) finishedBatches * maskValues.length;
        return finished.clone();
      }
      return new double[graph.maskSize()];
    }

    double[] state() {
      return new StateWriter().add(finishedBatches).add(finishedPrompts).add(finished).toArray();
    }

    void did() {
      progress.report(++done, total);
    }

    void finished(PromptPairBatch batch, double[] scores) {
      finishedBatches++;
      finishedPrompts += batch.size();
      finished = scores.clone();
    }

    /**
     * Returns what the scores would be if there were no more batches; {@code null} before the
     * first.
     */
    PruneScores partial(ModelGraph graph) {
      if (finishedPrompts == 0) {
        return null;
      }
      double scale = sumOfBatchMeans ? 1 : (double) prompts / finishedPrompts;
      return PruneScores.of(graph, Arrays.stream(finished).map(sum -> sum * scale).toArray());
    }

    double weight(PromptPairBatch batch) {
      return sumOfBatchMeans ? 1 : (double) batch.size() / prompts / maskValues.length;
    }
  }

  /** Collects settings. Not safe for use by several threads. */
  public static final class Builder extends AttributionBuilder<Builder> {

    private OptionalDouble maskValue = OptionalDouble.empty();
    private OptionalInt integratedGradSamples = OptionalInt.empty();
    private Function<? super PromptPairBatch, Tensor> targets;
    private OptionalLong memoryLimit = OptionalLong.empty();
    private boolean sumOfBatchMeans;
    private BackwardRules rules = BackwardRules.DERIVATIVE;

    private Builder() {}

    @Override
    Builder self() {
      return this;
    }

    /** Sets what is done to the answers' values; {@link #targets} sets {@code MSE}. */
    @Override
    public Builder answerFunction(AnswerFunction value) {
      answerFunction = Objects.requireNonNull(value, "answerFunction");
      return this;
    }

    /** Sets the one mask value at which the gradient is taken; 0 unless samples are set. */
    public Builder maskValue(double value) {
      maskValue = OptionalDouble.of(value);
      return this;
    }

    /**
     * Integrates: takes the mean of the gradients at the {@code n + 1} mask values 0, 1/n, ..., 1.
     *
     * @throws IllegalArgumentException if {@code n} is less than 1
     */
    public Builder integratedGradSamples(int n) {
      integratedGradSamples = OptionalInt.of(Numbers.atLeast(1, "integratedGradSamples", n));
      return this;
    }

    /**
     * Sets the answer function {@code MSE}.
     *
     * @param value gives the targets {@code [batch, d_vocab]} of a batch, of the model's precision
     *     and device
     */
    public Builder targets(Function<? super PromptPairBatch, Tensor> value) {
      targets = Objects.requireNonNull(value, "targets");
      answerFunction = AnswerFunction.MSE;
      return this;
    }

    /**
     * Limits the bytes that tensors of a batch take: see {@link EdgeAttribution}. Activations that
     * are means are not counted; those of corrupt prompts are recomputed for every mask value.
     *
     * @throws IllegalArgumentException if it is not positive
     */
    public Builder memoryLimit(long bytes) {
      if (bytes <= 0) {
        throw new IllegalArgumentException("memoryLimit: expected a number of bytes, got " + bytes);
      }
      memoryLimit = OptionalLong.of(bytes);
      return this;
    }

    /**
     * Adds up where the mean is taken otherwise, for comparison with the original: scores are sums
     * over batches and mask values of the gradients of each batch's mean loss. They grow with the
     * number of batches, and a prompt of a small batch counts more than one of a large batch.
     */
    public Builder sumOfBatchMeans() {
      sumOfBatchMeans = true;
      return this;
    }

    /** Sets how gradients go back, which makes it another algorithm. */
    Builder rules(BackwardRules value) {
      rules = value;
      return this;
    }

    /**
     * Makes the algorithm.
     *
     * @throws IllegalArgumentException if both a mask value and a number of samples are set, if
     *     targets and the answer function do not belong together, or if patch input is set for an
     *     ablation that depends on no single batch
     */
    public MaskGradient build() {
      if (maskValue.isPresent() && integratedGradSamples.isPresent()) {
        throw new IllegalArgumentException(
            "expected maskValue or integratedGradSamples, got both: %s and %s"
                .formatted(maskValue.getAsDouble(), integratedGradSamples.getAsInt()));
      }
      if ((targets != null) != (answerFunction == AnswerFunction.MSE)) {
        throw new IllegalArgumentException(
            "targets: expected with the answer function MSE and only then, got %s with %s"
                .formatted(targets == null ? "none" : "some", answerFunction));
      }
      PatchedBatches.requireUse(settings, ablation);
      return new MaskGradient(this);
    }

    private double[] maskValues() {
      if (integratedGradSamples.isEmpty()) {
        return new double[] {maskValue.orElse(0)};
      }
      int n = integratedGradSamples.getAsInt();
      double[] values = new double[n + 1];
      Arrays.setAll(values, sample -> (double) sample / n);
      return values;
    }
  }
}
