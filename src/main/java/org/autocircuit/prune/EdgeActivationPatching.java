package org.autocircuit.prune;

import java.util.Collection;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.function.Function;
import java.util.function.UnaryOperator;
import java.util.stream.IntStream;
import org.autocircuit.PatchableModel;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.Settings;
import org.autocircuit.pass.Checkpoint;
import org.autocircuit.pass.IncrementalRun;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.patch.Use;
import org.bytedeco.pytorch.Tensor;

/**
 * Scores edges by what patching that one edge alone does to a loss: activation patching of single
 * edges, also called path patching (Wang et al. 2022; Goldowsky-Dill et al. 2023). The score is the
 * loss with the edge patched less the loss of the plain model. Edge attribution patching ({@link
 * MaskGradient} at mask value 0) is its first-order approximation, so signs agree: a positive score
 * says that patching the edge hurts.
 *
 * <p><b>Every prompt counts once</b>: a score is the mean over all prompts of the difference in
 * each prompt's own loss, in the unit of the loss, whatever batches the prompts come in and in
 * which order; only ablations that are means of one batch depend on the batches. <b>Edges that were
 * not chosen have score 0</b>, as if patching them changed nothing: they rank last, and circuits of
 * at most as many edges as were chosen have none of them.
 *
 * <pre>{@code
 * PruneScores attribution = MaskGradient.builder().build().pruneScores(model, batches);
 * PruneScores exact =
 *     EdgeActivationPatching.builder()
 *         .edges(attribution.circuit(200).edges()) // check the best candidates
 *         .build()
 *         .pruneScores(model, batches);
 * }</pre>
 *
 * <p><b>Speed.</b> A run with one edge patched begins at its destination, with the values of the
 * plain run; see {@link IncrementalRun}, also for the memory.
 *
 * <p>Immutable; safe to share between threads.
 */
public final class EdgeActivationPatching implements ResumableAlgorithm {

  /** From a batch and the plain model's logits to a loss of a run of the batch. */
  private interface LossOfBatch {

    /** From logits {@code [batch, d_vocab]} to a loss. */
    UnaryOperator<Tensor> on(PromptPairBatch batch, Tensor cleanLogits);
  }

  /** Is a loss, and says what it is a number of. */
  private record Loss(String unit, ScoreSign sign, LossOfBatch ofBatch) {}

  private final Loss loss;
  private final Ablation ablation;
  private final CleanCorrupt patchInput;
  private final Optional<List<Edge>> edges;
  private final Settings settings;

  private EdgeActivationPatching(Builder builder) {
    loss = builder.loss;
    ablation = builder.ablation;
    patchInput = builder.patchInput;
    edges = Optional.ofNullable(builder.edges);
    settings = builder.settings.copy();
  }

  private EdgeActivationPatching(EdgeActivationPatching other, List<Edge> edges) {
    loss = other.loss;
    ablation = other.ablation;
    patchInput = other.patchInput;
    this.edges = Optional.of(edges);
    settings = other.settings;
  }

  /**
   * Begins with the difference of right and wrong answers' logits, resampling from corrupt prompts,
   * and all edges.
   */
  public static Builder builder() {
    return new Builder();
  }

  /** These settings for other edges. */
  EdgeActivationPatching withEdges(List<Edge> value) {
    return new EdgeActivationPatching(this, value);
  }

  @Override
  public String name() {
    return "edge activation patching";
  }

  @Override
  public String unit() {
    return loss.unit;
  }

  @Override
  public ScoreSign sign() {
    return loss.sign;
  }

  /**
   * Scores the edges of a model. Runs each batch on its clean prompts, at the last position.
   *
   * @param model its masks are not touched
   * @param batches at least one
   * @param progress is told of each edge of each batch
   * @param checkpoint is told of each edge of each batch
   * @throws IllegalArgumentException if there is no batch, one does not fit the model, or an edge
   *     is not of its graph
   * @throws IllegalStateException if the model is closed
   * @throws org.autocircuit.exception.NotFiniteException if a logit or a loss is NaN or infinite
   * @throws StoppedException if it was stopped; has {@code PruneScores}, of each edge the mean over
   *     the prompts with which it was tested
   */
  @Override
  public PruneScores pruneScores(
      PatchableModel model,
      Collection<? extends PromptPairBatch> batches,
      Progress progress,
      Checkpoint checkpoint) {
    PatchedEdgeMeans mean =
        new PatchedEdgeMeans(model, chosen(model.graph()), batches.size(), progress, checkpoint);
    try (Use use = model.use()) {
      double prompts = batches.stream().mapToInt(PromptPairBatch::size).sum();
      PatchedBatches.forEach(
          model,
          batches,
          ablation,
          patchInput,
          1,
          mean.wholeBatches(),
          (batch, activations) -> {
            try (CallScope scope = new CallScope()) {
              ModelInput clean = ModelInput.ofPrompts(batch.clean(), model.device());
              mean.add(
                  clean,
                  activations,
                  logits -> loss.ofBatch.on(batch, logits),
                  batch.size() / prompts);
            }
          });
      checkpoint.keep(mean.state());
      return mean.scores();
    } catch (StoppedException e) {
      checkpoint.keep(mean.state());
      throw new StoppedException(e, mean.partial());
    }
  }

  /**
   * Scores the edges of a model on one input of any kind, with activations and a loss of the
   * caller's choice. A score is the difference in the loss of the whole input: for an {@link
   * AnswerLoss} the mean over its prompts.
   *
   * @throws IllegalArgumentException if something does not fit the model, or if the builder was
   *     given a loss, an ablation type or patch input, too
   * @throws IllegalStateException if the model or the activations are closed
   * @throws org.autocircuit.exception.NotFiniteException if a logit or a loss is NaN or infinite
   * @throws StoppedException if it was stopped; has the {@code PruneScores} of the edges done
   */
  public PruneScores pruneScores(
      PatchableModel model,
      ModelInput clean,
      SourceActivations activations,
      AnswerLoss answerLoss) {
    return pruneScores(model, clean, activations, answerLoss, Progress.NONE);
  }

  /**
   * As {@link #pruneScores(PatchableModel, ModelInput, SourceActivations, AnswerLoss)}.
   *
   * @param progress is told of each edge
   */
  public PruneScores pruneScores(
      PatchableModel model,
      ModelInput clean,
      SourceActivations activations,
      AnswerLoss answerLoss,
      Progress progress) {
    settings.refuse("the call brings a loss of its own", "loss");
    settings.refuse("the call brings the activations", "ablation", "patchInput");
    PatchedEdgeMeans mean =
        new PatchedEdgeMeans(model, chosen(model.graph()), 1, progress, Checkpoint.NONE);
    try {
      mean.add(clean, activations, logits -> answerLoss::loss, 1);
      return mean.scores();
    } catch (StoppedException e) {
      throw new StoppedException(e, mean.partial());
    }
  }

  /** Indices of the chosen edges, each once. */
  private int[] chosen(ModelGraph graph) {
    return edges
        .map(list -> list.stream().mapToInt(graph::index).distinct().toArray())
        .orElseGet(() -> IntStream.range(0, graph.nEdges()).toArray());
  }

  /** Collects settings. Not safe for use by several threads. */
  public static final class Builder {

    private Loss loss = answers(GradFunction.LOGIT, AnswerFunction.AVG_DIFF);
    private Ablation ablation = BatchAblation.RESAMPLE;
    private CleanCorrupt patchInput = CleanCorrupt.CORRUPT;
    private List<Edge> edges;
    private final Settings settings = new Settings();

    private Builder() {}

    /**
     * Sets a loss on the answers of each batch.
     *
     * @throws IllegalArgumentException for {@link AnswerFunction#MSE}, which needs targets: {@link
     *     #loss(Function)}
     */
    public Builder loss(GradFunction gradFunction, AnswerFunction answerFunction) {
      if (answerFunction == AnswerFunction.MSE) {
        throw new IllegalArgumentException("answerFunction: expected one of answers, got MSE");
      }
      settings.made("loss");
      loss = answers(gradFunction, answerFunction);
      return this;
    }

    /**
     * Sets a loss made for each batch: the mean over the batch's prompts. The {@linkplain
     * EdgeActivationPatching#unit unit} of the scores is {@code units of the loss}.
     */
    public Builder loss(Function<? super PromptPairBatch, AnswerLoss> value) {
      Objects.requireNonNull(value, "loss");
      settings.made("loss");
      loss =
          new Loss(
              "units of the loss", ScoreSign.SIGNED, (batch, clean) -> value.apply(batch)::loss);
      return this;
    }

    /**
     * Sets the loss to the divergence from the plain model's outputs, which need no answers. Scores
     * are {@linkplain ScoreSign#UNSIGNED unsigned} then.
     */
    public Builder loss(FaithfulnessTarget value) {
      Objects.requireNonNull(value, "loss");
      settings.made("loss");
      loss =
          new Loss(
              value.unit(),
              ScoreSign.UNSIGNED,
              (batch, clean) -> {
                Tensor target = value.target(clean);
                return logits -> value.divergence(logits, target, Optional.empty());
              });
      return this;
    }

    /** Sets what edges are patched with. */
    public Builder ablation(Ablation value) {
      ablation = Objects.requireNonNull(value, "ablation");
      settings.made("ablation");
      return this;
    }

    /** Sets the prompts that ablations of single batches are computed from. */
    public Builder patchInput(CleanCorrupt value) {
      patchInput = Objects.requireNonNull(value, "patchInput");
      settings.made("patchInput");
      return this;
    }

    /** Sets the edges that are scored; without it all are. */
    public Builder edges(Collection<Edge> values) {
      edges = List.copyOf(values);
      return this;
    }

    /**
     * Makes the algorithm.
     *
     * @throws IllegalArgumentException if patch input is set for an ablation that depends on no
     *     single batch
     */
    public EdgeActivationPatching build() {
      PatchedBatches.requireUse(settings, ablation);
      return new EdgeActivationPatching(this);
    }

    private static Loss answers(GradFunction gradFunction, AnswerFunction answerFunction) {
      Objects.requireNonNull(gradFunction, "gradFunction");
      Objects.requireNonNull(answerFunction, "answerFunction");
      return new Loss(
          gradFunction.unit(),
          ScoreSign.SIGNED,
          (batch, clean) ->
              AnswerLoss.of(gradFunction, answerFunction, batch.answers(), batch.wrongAnswers())
                  ::loss);
    }
  }
}
