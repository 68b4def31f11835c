package org.autocircuit.prune;

import org.autocircuit.graph.ModelGraph;
import org.autocircuit.graph.SrcModule;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

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
  void visit(Batch batch, Points each) {
    ModelGraph graph = batch.model().graph();
    SrcModule input = graph.srcModules().get(0);
    Tensor toCorrupt = batch.differences().select(0, input.srcStart());
    for (int k = 1; k <= points; k++) {
      try (PointerScope scope = new PointerScope()) {
        Tensor added = toCorrupt.mul(new Scalar(1 - (double) k / points));
        each.add(
            batch.at(batch.prompts().clean()).withAdded(input.moduleName(), added),
            1.0 / points,
            allSources(graph));
      }
    }
  }

  /** Collects settings. Not safe for use by several threads. */
  public static final class Builder extends AttributionBuilder<Builder> {

    private int points = 5;

    private Builder() {}

    @Override
    Builder self() {
      return this;
    }

    /**
     * Sets the number of points; each costs a gradient.
     *
     * @throws IllegalArgumentException if it is less than 1
     */
    public Builder points(int value) {
      points = AttributionBuilder.atLeastOne(value);
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
