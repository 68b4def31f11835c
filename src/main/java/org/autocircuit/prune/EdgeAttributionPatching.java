package org.autocircuit.prune;

import org.autocircuit.graph.ModelGraph;

/**
 * Edge attribution patching (Syed, Rager and Conmy 2023, arXiv 2310.10348) without masks: the
 * gradient of the loss at a destination's input, on the clean prompts, times what the source puts
 * out on the corrupt ones less what it does on the clean ones. The counterpart of the Python
 * original's {@code edge_attribution_patching_prune_scores}, which reads both with hooks; its
 * {@code answer_diff}, true by default, is {@link
 * org.autocircuit.attribution.AnswerLoss.AnswerFunction#AVG_DIFF}, false is {@code AVG_VAL}. {@link
 * MaskGradient} at mask value 0 gives the same scores.
 *
 * <p>Positive: patching the edge hurts. Each prompt counts once, where the original adds up the
 * means of batches; in a graph with positions each has its own score, where the original gives all
 * of them their sum. Scores have the unit of the loss.
 *
 * <p>Immutable; safe to share between threads.
 */
public final class EdgeAttributionPatching extends GradientAttribution {

  private EdgeAttributionPatching(Builder builder) {
    super(builder);
  }

  /** Begins with logits, the difference of answers, and resampling. */
  public static Builder builder() {
    return new Builder();
  }

  @Override
  public String name() {
    return "edge attribution patching without masks";
  }

  @Override
  int points(ModelGraph graph) {
    return 1;
  }

  @Override
  double cleanWeight() {
    return 1;
  }

  /** There are no others. */
  @Override
  void visit(Batch batch, Points each) {}

  /** Collects settings. Not safe for use by several threads. */
  public static final class Builder extends AttributionBuilder<Builder> {

    private Builder() {}

    @Override
    Builder self() {
      return this;
    }

    /**
     * Makes the algorithm.
     *
     * @throws IllegalArgumentException if patch input is set for an ablation that depends on no
     *     single batch
     */
    public EdgeAttributionPatching build() {
      return new EdgeAttributionPatching(this);
    }
  }
}
