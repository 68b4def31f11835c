package org.autocircuit.prune;

import java.util.List;
import java.util.OptionalInt;
import java.util.stream.IntStream;
import org.autocircuit.graph.DestModule;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.BlockHooks;
import org.bytedeco.javacpp.PointerScope;

/**
 * Edge attribution patching with AtP*'s correction of queries and keys (Kramár et al. 2024, "AtP*:
 * An efficient and scalable method for localizing LLM behaviour to components", arXiv 2403.00745,
 * section 3.1.1). Where attention is saturated, the gradient of its softmax is 0, and plain
 * attribution misses the edges that decide where a head looks. Here the score of an edge into a
 * query or a key is
 *
 * <pre>Σ (A' - A) · ∂L/∂A</pre>
 *
 * with A the attention pattern of the clean run, and A' what it becomes where this edge alone is
 * patched. All that leads from the edge to A' is exact: norm, projection, rotation, soft cap and
 * softmax. What the pattern does to the loss is linear, as in plain attribution. Edges into values,
 * MLPs and the end have the scores of plain attribution. Positive: patching the edge hurts.
 *
 * <p>The paper corrects nodes, at one position each. An edge for all positions is patched at all of
 * them, here as everywhere; in a graph with positions each edge at its own. The paper's other
 * change, GradDrop, is not made.
 *
 * <p><b>Cost.</b> A source is patched into the queries or the keys of all heads of a block at once:
 * two projections and patterns for each block and source before it, and one for each key's position
 * if the graph has them; nothing behind the pattern is computed. The clean attention patterns of
 * all blocks and their gradients are held while a batch is scored.
 *
 * <pre>{@code
 * PruneScores scores = AtpStarAttribution.builder().build().pruneScores(model, batches);
 * }</pre>
 *
 * <p>For transformers with a graph of separate queries, keys and values. Each prompt counts once;
 * scores have the unit of the loss. Immutable; safe to share between threads.
 */
public final class AtpStarAttribution extends GradientAttribution {

  private AtpStarAttribution(Builder builder) {
    super(builder);
  }

  /** Begins with logits, the difference of answers, and resampling. */
  public static Builder builder() {
    return new Builder();
  }

  @Override
  public String name() {
    return "edge attribution patching with AtP*'s queries and keys";
  }

  @Override
  int points(ModelGraph graph) {
    return 1
        + corrected(graph).stream()
            .mapToInt(module -> module.nSrcs() * positions(module) / atOnce(module))
            .sum();
  }

  @Override
  double cleanWeight() {
    return 1;
  }

  @Override
  void visit(Batch batch, Points each) {
    try (PointerScope ofAll = new PointerScope()) {
      CleanPatterns patterns = CleanPatterns.of(batch);
      for (DestModule module : corrected(batch.model().graph())) {
        for (int src = module.inStart(); src < module.inStop(); src += patterns.sourcesAtOnce()) {
          int sources = Math.min(patterns.sourcesAtOnce(), module.inStop() - src);
          for (int position = 0; position < positions(module); position += atOnce(module)) {
            boolean byQuery = atOnce(module) > 1;
            try (PointerScope scope = new PointerScope()) {
              each.replace(
                  edges(module, src, sources, position),
                  patterns.effects(
                      BlockHooks.block(module.moduleName()),
                      module,
                      src,
                      sources,
                      byQuery || module.seqLen() == 0
                          ? OptionalInt.empty()
                          : OptionalInt.of(position),
                      byQuery),
                  sources);
            }
          }
        }
      }
    }
  }

  /** Positions of a pass: what is patched into a query changes the pattern of no other query. */
  private static int atOnce(DestModule module) {
    return isKeys(module) ? 1 : positions(module);
  }

  private static int positions(DestModule module) {
    return Math.max(module.seqLen(), 1);
  }

  /** Edges of sources to all heads, source by source and position by position. */
  private static int[] edges(DestModule module, int src, int sources, int position) {
    return IntStream.range(src, src + sources)
        .flatMap(
            source ->
                IntStream.range(position, position + atOnce(module))
                    .flatMap(
                        at ->
                            IntStream.range(0, module.nDests())
                                .map(row -> module.index(at, row, source))))
        .toArray();
  }

  private static List<DestModule> corrected(ModelGraph graph) {
    if (!graph.separateQkv()) {
      throw new IllegalArgumentException(
          "graph: expected one of separate queries, keys and values, got " + graph);
    }
    return graph.destModules().stream()
        .filter(module -> isKeys(module) || module.moduleName().endsWith(BlockHooks.Q_INPUT))
        .toList();
  }

  static boolean isKeys(DestModule module) {
    return module.moduleName().endsWith(BlockHooks.K_INPUT);
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
    public AtpStarAttribution build() {
      return new AtpStarAttribution(this);
    }
  }
}
