package org.autocircuit.cli;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.autocircuit.eval.CircuitMeasures;
import org.autocircuit.internal.JsonFiles;
import org.autocircuit.internal.StrictJson;
import org.autocircuit.prune.HeadScore;
import org.autocircuit.prune.PruneAlgorithm;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.VerifiedScores;
import org.autocircuit.prune.VerifiedScores.Interval;
import org.autocircuit.prune.VerifiedScores.VerifiedEdge;

/**
 * The findings of a discovery, for programs to read.
 *
 * @param run the command and the version of the program
 * @param model what it was found in
 * @param prompts what it was found and tested with
 * @param ablation what edges were patched with
 * @param algorithm what gave the scores
 * @param scores of all edges
 * @param intervals of the scores, if they were asked for
 * @param verified scores beside exact effects, where they are estimates
 * @param circuits their measures
 * @param smallest the smallest that recovers a share, where there is one
 */
record Discovery(
    Map<String, String> run,
    String model,
    String prompts,
    String ablation,
    PruneAlgorithm algorithm,
    PruneScores scores,
    IntervalOptions intervals,
    Optional<VerifiedScores> verified,
    CircuitComparison.Measured circuits,
    Optional<SmallestPart> smallest) {

  /** Writes one JSON object, in place of an existing file when it is complete. */
  void write(Path file) {
    ObjectNode root = StrictJson.MAPPER.createObjectNode();
    root.put("format", "autocircuit-discovery").put("version", 1);
    addRun(root, run);
    root.put("model", model).put("prompts", prompts).put("ablation", ablation);
    root.putObject("method")
        .put("name", algorithm.name())
        .put("unit", algorithm.unit())
        .put("sign", Names.typed(algorithm.sign()));
    intervals.addTo(root);
    verified.ifPresent(edges -> addVerification(root.putObject("verification"), edges));
    ArrayNode sizes = root.putArray("circuits");
    circuits
        .found()
        .forEach(
            (size, measures) -> {
              ObjectNode circuit = sizes.addObject().put("edges", size);
              circuits.asked().get(size).forEach(circuit.putArray("asked_for")::add);
              circuit.put("on_paths", scores.circuit(size).onPaths().size());
              addMeasures(circuit, measures);
              if (circuits.random().containsKey(size)) {
                addMeasures(circuit.putObject("random"), circuits.random().get(size));
              }
            });
    addMeasures(root.putObject("full_model"), circuits.full());
    put(root, "range", circuits.range().value());
    put(root, "range_standard_error", circuits.range().standardError());
    smallest.ifPresent(part -> part.addTo(root.putObject("smallest_circuit")));
    ArrayNode heads = root.putArray("heads");
    for (HeadScore head : HeadScore.of(scores)) {
      put(put(heads.addObject().put("head", head.head()), "in", head.in()), "out", head.out());
    }
    ObjectNode edges = root.putObject("scores");
    for (int i = 0; i < scores.size(); i++) {
      put(edges, plain(scores, i), scores.get(i));
    }
    JsonFiles.write(file, root);
  }

  /** Adds the command and the version that made a file. */
  static void addRun(ObjectNode root, Map<String, String> run) {
    run.forEach(root.putObject("run")::put);
  }

  /** The name of an edge as look-ups take it. */
  static String plain(PruneScores scores, int edge) {
    var of = scores.graph().edge(edge);
    return of.name() + (of.position().isPresent() ? "@" + of.position().getAsInt() : "");
  }

  private void addVerification(ObjectNode json, VerifiedScores verified) {
    json.put("complete", verified.isComplete());
    add(json.putObject("pearson"), verified.pearson());
    add(json.putObject("spearman"), verified.spearman());
    put(json, "expected_missed", verified.expectedMissed());
    put(json, "slope", verified.slope());
    add(json.putArray("top"), verified.top());
    add(json.putArray("sample"), verified.sample());
  }

  private static void add(ObjectNode json, Interval interval) {
    put(json, "value", interval.value());
    put(json, "low", interval.low());
    put(json, "high", interval.high());
  }

  private void add(ArrayNode json, List<VerifiedEdge> edges) {
    for (VerifiedEdge edge : edges) {
      ObjectNode object =
          json.addObject().put("edge", plain(scores, scores.graph().index(edge.edge())));
      put(put(object, "estimate", edge.estimate()), "exact", edge.exact());
    }
  }

  private void addMeasures(ObjectNode json, CircuitMeasures measures) {
    put(json, "logit_difference", measures.logitDifference());
    put(json, "faithfulness", measures.recovered(circuits.full(), circuits.empty()));
    put(json, "kl", measures.klDivergence());
    put(json, "accuracy", measures.accuracy());
  }

  /** Adds a number; those that JSON lacks are strings, as in files of scores. */
  static ObjectNode put(ObjectNode json, String name, double value) {
    if (Double.isNaN(value)) {
      return json.put(name, "nan");
    }
    return Double.isInfinite(value)
        ? json.put(name, value > 0 ? "inf" : "-inf")
        : json.put(name, value);
  }
}
