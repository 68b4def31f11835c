package org.autocircuit.prune;

import java.util.LinkedHashMap;
import java.util.Map;
import org.autocircuit.attribution.PointAttribution;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.graph.SrcModule;
import org.autocircuit.internal.BlockHooks;
import org.bytedeco.javacpp.PointerScope;

/**
 * Edge attribution patching with integrated gradients over activations, one layer after another
 * (Marks et al. 2024, "Sparse Feature Circuits", arXiv 2403.19647; Hanna, Pezzelle and Belinkov
 * 2024). The score of an edge from u to v is
 *
 * <pre>(z'_u - z_u) · 1/m Σ_{k=1..m} ∂L/∂x_v where u's layer puts out z' + k/m (z - z')</pre>
 *
 * with z and z' what the whole layer of u, all heads of a block or an MLP, puts out on the clean
 * and on the corrupt prompt, all before it being as on the clean one. It follows the gradient along
 * what patching u changes. The point k = m is the clean run for all layers; the others take m - 1
 * gradients for each layer, from its block on. Positive: patching the edge hurts.
 *
 * <p>For transformers. Each prompt counts once; scores have the unit of the loss. Immutable; safe
 * to share between threads.
 */
public final class ActivationIntegratedGradients extends GradientAttribution {

  private final int points;

  private ActivationIntegratedGradients(Builder builder) {
    super(builder);
    points = builder.points;
  }

  /** Begins with 5 points, logits, the difference of answers, and resampling. */
  public static Builder builder() {
    return new Builder();
  }

  @Override
  public String name() {
    return "integrated gradients over activations, %s points".formatted(points);
  }

  /** The last of the points of all layers is the clean run. */
  @Override
  int points(ModelGraph graph) {
    return 1 + (points - 1) * layers(graph).size();
  }

  @Override
  double cleanWeight() {
    return 1.0 / points;
  }

  @Override
  void visit(Batch batch, Points each) {
    if (points == 1) {
      return;
    }
    try (PointerScope scope = new PointerScope()) {
      CleanStreams streams = CleanStreams.of(batch);
      layers(batch.model().graph())
          .forEach(
              (hookName, sources) -> {
                int block = BlockHooks.block(hookName);
                PointAttribution clean =
                    PointAttribution.startingAt(
                            block, streams.into(block), batch.differences(), batch.loss())
                        .withSources(sources);
                integrate(batch, clean, sources, hookName, points, each);
              });
    }
  }

  /** Returns the sources that put out together, by the hook point where their sum passes. */
  private static Map<String, SrcModule> layers(ModelGraph graph) {
    Map<String, SrcModule> layers = new LinkedHashMap<>();
    int blocks = graph.config().nLayers();
    for (SrcModule module : graph.srcModules()) {
      layers.merge(
          seenFrom(sumOf(module.moduleName()), blocks),
          module,
          (first, next) -> new SrcModule(first.moduleName(), first.srcStart(), next.srcStop()));
    }
    return layers;
  }

  /** An MLP's output enters the next block, so that its own need not run. */
  private static String seenFrom(String hookName, int blocks) {
    if (!hookName.endsWith(BlockHooks.MLP_OUT)) {
      return hookName;
    }
    int next = BlockHooks.block(hookName) + 1;
    return next == blocks ? hookName : BlockHooks.of(next, BlockHooks.RESID_PRE);
  }

  /** The hook point where the outputs of a module are summed. */
  private static String sumOf(String moduleName) {
    if (moduleName.endsWith(BlockHooks.RESULT)) {
      return BlockHooks.of(BlockHooks.block(moduleName), BlockHooks.ATTN_OUT);
    }
    // Latents of an autoencoder have longer names.
    return moduleName.contains(BlockHooks.MLP_OUT)
        ? BlockHooks.of(BlockHooks.block(moduleName), BlockHooks.MLP_OUT)
        : moduleName;
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
    public ActivationIntegratedGradients build() {
      return new ActivationIntegratedGradients(this);
    }
  }
}
