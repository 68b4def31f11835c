package org.autocircuit.prune;

import java.util.Collection;
import java.util.Objects;
import java.util.OptionalLong;
import org.autocircuit.PatchableModel;
import org.autocircuit.attribution.BackwardRules;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.pass.Checkpoint;
import org.autocircuit.pass.Progress;

/**
 * Edge attribution patching with the gradients of GIM, gradient interaction modifications (Edin et
 * al. 2025, "GIM: Improved Interpretability for Large Language Models", arXiv 2505.17630). The
 * score of an edge from u to v is
 *
 * <pre>(z'_u - z_u) · ∂L/∂x_v</pre>
 *
 * at the clean prompt, where the gradient goes back by other rules than the derivative's: {@link
 * BackwardRules#GIM}. Where attention repairs what is taken from it, because its softmax gives the
 * weight of one key to another, the derivative says that neither matters; the gradient of a softer
 * softmax says that both do. Positive: patching the edge hurts.
 *
 * <p>As fast as edge attribution patching, {@link MaskGradient} at mask value 0, and with the
 * derivative's rules the same. As scores follow no derivative, they are no estimates of what
 * patching an edge does, though they have the unit of the loss: they are for ranking edges.
 *
 * <pre>{@code
 * PruneScores scores = GimAttribution.builder().build().pruneScores(model, batches);
 * }</pre>
 *
 * <p>For transformers. Each prompt counts once. Immutable; safe to share between threads.
 */
public final class GimAttribution implements PromptAlgorithm, ResumableAlgorithm {

  private final MaskGradient gradient;

  private GimAttribution(MaskGradient gradient) {
    this.gradient = gradient;
  }

  /** Begins with GIM's rules, logits, the difference of answers, and resampling. */
  public static Builder builder() {
    return new Builder();
  }

  @Override
  public String name() {
    return "gradient interaction modifications";
  }

  @Override
  public String unit() {
    return gradient.unit();
  }

  @Override
  public ScoreSign sign() {
    return gradient.sign();
  }

  /**
   * Scores the edges of a model. Runs each batch on its clean prompts, at the last position.
   *
   * @param progress is told of each batch
   * @throws StoppedException if it was stopped; has the {@code PruneScores} of the batches done
   */
  @Override
  public PruneScores pruneScores(
      PatchableModel model,
      Collection<? extends PromptPairBatch> batches,
      Progress progress,
      Checkpoint checkpoint) {
    return gradient.pruneScores(model, batches, progress, checkpoint);
  }

  @Override
  public void scorePrompts(
      PatchableModel model,
      Collection<? extends PromptPairBatch> batches,
      Progress progress,
      PromptSink sink) {
    gradient.scorePrompts(model, batches, progress, sink);
  }

  /** Collects settings. Not safe for use by several threads. */
  public static final class Builder extends AttributionBuilder<Builder> {

    private BackwardRules rules = BackwardRules.GIM;
    private OptionalLong memoryLimit = OptionalLong.empty();

    private Builder() {}

    @Override
    Builder self() {
      return this;
    }

    /** Sets how gradients go back; by default as in the paper. */
    public Builder rules(BackwardRules value) {
      rules = Objects.requireNonNull(value, "rules");
      return this;
    }

    /**
     * Limits the bytes that tensors of a batch take; see {@link MaskGradient.Builder#memoryLimit}.
     *
     * @throws IllegalArgumentException if it is not positive
     */
    public Builder memoryLimit(long bytes) {
      memoryLimit = OptionalLong.of(bytes);
      return this;
    }

    /**
     * Makes the algorithm.
     *
     * @throws IllegalArgumentException if patch input is set for an ablation that depends on no
     *     single batch
     */
    public GimAttribution build() {
      PatchedBatches.requireUse(settings, ablation);
      MaskGradient.Builder gradient = onto(MaskGradient.builder()).rules(rules);
      memoryLimit.ifPresent(gradient::memoryLimit);
      return new GimAttribution(gradient.build());
    }
  }
}
