package org.autocircuit.prune;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import org.autocircuit.graph.DestModule;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.graph.SrcNode;

/**
 * The score of a node as a source: the sum of the scores of all edges that leave it, over all
 * positions. Patching a node is patching all these edges. What the sum says of that follows from
 * what scores of edges are:
 *
 * <ul>
 *   <li>A gradient at one point, or the mean of some: what it says of the node, since it says of a
 *       sum of small changes the sum of what it says of each. For {@link MaskGradient} at mask
 *       value 0 and {@link EdgeAttributionPatching} this is attribution patching of nodes (Nanda
 *       2023; Kramár et al. 2024), with the gradients of {@link InputIntegratedGradients}, {@link
 *       CleanCorruptedAttribution} and {@link GimAttribution} the same with theirs.
 *   <li>{@link ActivationIntegratedGradients}: the effect of patching the node's whole layer,
 *       divided among its nodes.
 *   <li>{@link AtpStarAttribution} and {@link EdgeActivationPatching}: the sum of effects of single
 *       edges. Patched together they do something else, as far as the model is not linear in them.
 *   <li>Methods that choose circuits, and those that look at no answer: no more than a summary.
 * </ul>
 *
 * @param node the source
 * @param score in the unit of the edges' scores
 */
public record NodeScore(SrcNode node, double score) {

  /** The scores of all sources, by descending absolute score; those of equal ones by index. */
  public static List<NodeScore> of(PruneScores scores) {
    ModelGraph graph = scores.graph();
    double[] sums = new double[graph.srcs().size()];
    for (DestModule module : graph.destModules()) {
      for (int i = module.offset(); i < module.end(); i++) {
        sums[module.srcIdx(i)] += scores.get(i);
      }
    }
    List<NodeScore> nodes = new ArrayList<>();
    graph.srcs().forEach(src -> nodes.add(new NodeScore(src, sums[src.srcIdx()])));
    nodes.sort(Comparator.comparingDouble(node -> -Math.abs(node.score())));
    return nodes;
  }

  /** The node's name and the score. */
  @Override
  public String toString() {
    return node + ": " + score;
  }
}
