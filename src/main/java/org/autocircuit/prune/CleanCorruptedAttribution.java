package org.autocircuit.prune;

import org.autocircuit.graph.ModelGraph;

/**
 * Clean-corrupted edge attribution patching (Hanna, Pezzelle and Belinkov 2024, arXiv 2403.17806,
 * in the authors' code): plain attribution with the mean of two gradients, one on the clean and one
 * on the corrupt prompt, both of the clean prompt's answers. The trapezoid rule with two points for
 * the line that {@link InputIntegratedGradients} integrates over. Positive: patching the edge
 * hurts.
 *
 * <p>Each prompt counts once; scores have the unit of the loss. Immutable; safe to share between
 * threads.
 */
public final class CleanCorruptedAttribution extends GradientAttribution {

  private CleanCorruptedAttribution(Builder builder) {
    super(builder);
  }

  /** Begins with logits, the difference of answers, and resampling. */
  public static Builder builder() {
    return new Builder();
  }

  @Override
  public String name() {
    return "clean-corrupted edge attribution patching";
  }

  @Override
  int points(ModelGraph graph) {
    return 2;
  }

  @Override
  double cleanWeight() {
    return 0.5;
  }

  @Override
  void visit(Batch batch, Points each) {
    each.add(batch.at(batch.prompts().corrupt()), 0.5, 1);
  }

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
    public CleanCorruptedAttribution build() {
      return new CleanCorruptedAttribution(this);
    }
  }
}
