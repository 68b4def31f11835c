package org.autocircuit.cli;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import java.util.Map;
import org.autocircuit.eval.FaithfulnessCurve;
import org.autocircuit.eval.ScoreSimilarity;
import org.autocircuit.internal.StrictJson;
import org.autocircuit.prune.PruneScores;

/**
 * Scores side by side, for programs to read.
 *
 * @param run the command and the version of the program
 * @param names files or methods
 * @param scores those of each name
 * @param curves the faithfulness of each one's circuits
 */
record ComparedScores(
    Map<String, String> run,
    List<String> names,
    List<PruneScores> scores,
    List<FaithfulnessCurve> curves) {

  /**
   * Makes one JSON object.
   *
   * @param overlaps shares of all edges at which circuits are compared
   */
  ObjectNode json(double... overlaps) {
    ObjectNode root = StrictJson.MAPPER.createObjectNode();
    root.put("format", "autocircuit-comparison").put("version", 1);
    Discovery.addRun(root, run);
    root.put("conditions", curves.get(0).conditions().toString()).put("ranking", "absolute");
    ArrayNode each = root.putArray("scores");
    for (int i = 0; i < scores.size(); i++) {
      FaithfulnessCurve curve = curves.get(i);
      ObjectNode one = each.addObject().put("name", names.get(i));
      Discovery.put(one, "cpr", curve.performanceRatio());
      Discovery.put(one, "cmd", curve.modelDistance());
      ArrayNode circuits = one.putArray("circuits");
      for (FaithfulnessCurve.Point point : curve.points()) {
        ObjectNode circuit = circuits.addObject();
        circuit.put("share", point.share()).put("edges", point.values().edges());
        Discovery.put(circuit, "faithfulness", point.faithfulness());
      }
    }
    ArrayNode pairs = root.putArray("pairs");
    for (int a = 0; a < scores.size(); a++) {
      for (int b = a + 1; b < scores.size(); b++) {
        ObjectNode pair = pairs.addObject();
        pair.putArray("names").add(names.get(a)).add(names.get(b));
        addSimilarity(
            pair,
            MethodTable.absolute(scores.get(a)),
            MethodTable.absolute(scores.get(b)),
            overlaps);
      }
    }
    return root;
  }

  private static void addSimilarity(
      ObjectNode pair, PruneScores some, PruneScores others, double[] overlaps) {
    Discovery.put(pair, "rank_correlation", ScoreSimilarity.spearman(some, others));
    ArrayNode sizes = pair.putArray("overlaps");
    for (double share : overlaps) {
      int size = Circuits.size(some.size(), share);
      Discovery.put(
          sizes.addObject().put("edges", size),
          "overlap",
          ScoreSimilarity.overlap(some, others, size));
    }
  }
}
