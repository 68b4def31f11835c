package org.autocircuit.prune;

import org.autocircuit.attribution.PointAttribution;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.graph.SrcModule;

/**
 * Edge attribution patching with integrated gradients over inputs, EAP-IG (Hanna, Pezzelle and
 * Belinkov 2024, "Have Faith in Faithfulness", arXiv 2403.17806). The score of an edge from u to v
 * is
 *
 * <pre>(z'_u - z_u) · 1/m Σ_{k=1..m} ∂L/∂x_v at the input z' + k/m (z - z')</pre>
 *
 * where z and z' are what the embedding puts out on the clean and on the corrupt prompt, z_u and
 * z'_u what u does, and L is the loss. Where plain attribution takes the gradient at the clean
 * prompt alone, which can be flat there, this takes its mean along the line from one prompt to the
 * other. Positive: patching the edge hurts.
 *
 * <pre>{@code
 * PruneScores scores =
 *     InputIntegratedGradients.builder().points(5).build().pruneScores(model, batches);
 * }</pre>
 *
 * <p>Each prompt counts once; scores have the unit of the loss. Immutable; safe to share between
 * threads.
 */
public final class InputIntegratedGradients extends GradientAttribution {

  private final int points;

  private InputIntegratedGradients(Builder builder) {
    super(builder);
    points = builder.points;
  }

  /** Begins with 5 points, logits, the difference of answers, and resampling. */
  public static Builder builder() {
    return new Builder();
  }

  @Override
  public String name() {
    return "integrated gradients over inputs, %s points".formatted(points);
  }

  @Override
  int points(ModelGraph graph) {
    return points;
  }

  @Override
  double cleanWeight() {
    return 1.0 / points;
  }

  @Override
  void visit(Batch batch, Points each) {
    SrcModule input = batch.model().graph().srcModules().get(0);
    PointAttribution clean = batch.at(batch.prompts().clean());
    integrate(batch, clean, input, input.moduleName(), points, each);
  }

  /** Collects settings. Not safe for use by several threads. */
  public static final class Builder extends PointsBuilder<Builder> {

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
    public InputIntegratedGradients build() {
      return new InputIntegratedGradients(this);
    }
  }
}
