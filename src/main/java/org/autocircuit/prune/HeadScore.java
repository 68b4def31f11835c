package org.autocircuit.prune;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.autocircuit.graph.DestNode;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.SrcNode;

/**
 * The weight of an attention head: sums of the absolute scores of its edges, over all positions. An
 * edge into a key or value input that several query heads share counts for each of them.
 *
 * @param head its name, {@code A0.1}
 * @param in the sum over the edges into its queries, keys and values
 * @param out the sum over the edges from it
 */
public record HeadScore(String head, double in, double out) {

  /** Both sums. */
  public double total() {
    return in + out;
  }

  /** Returns all heads of the graph, those with the greatest totals first. */
  public static List<HeadScore> of(PruneScores scores) {
    Map<String, double[]> sums = new LinkedHashMap<>();
    for (SrcNode src : scores.graph().srcs()) {
      if (src.headIdx().isPresent()) {
        sums.put(src.name(), new double[2]);
      }
    }
    for (int i = 0; i < scores.size(); i++) {
      Edge edge = scores.graph().edge(i);
      double score = Math.abs(scores.get(i));
      heads(edge.dest()).stream().filter(sums::containsKey).forEach(h -> sums.get(h)[0] += score);
      double[] ofSource = sums.get(edge.src().name());
      if (ofSource != null) {
        ofSource[1] += score;
      }
    }
    List<HeadScore> heads = new ArrayList<>();
    sums.forEach((name, sum) -> heads.add(new HeadScore(name, sum[0], sum[1])));
    heads.sort(Comparator.comparingDouble(HeadScore::total).reversed());
    return List.copyOf(heads);
  }

  /** The names of the heads that read a destination. */
  private static List<String> heads(DestNode dest) {
    if (dest.headIdx().isEmpty()) {
      return List.of();
    }
    String block = dest.name().substring(0, dest.name().indexOf('.') + 1);
    List<Integer> heads =
        dest.queryHeads().isEmpty() ? List.of(dest.headIdx().getAsInt()) : dest.queryHeads();
    return heads.stream().map(head -> block + head).toList();
  }
}
