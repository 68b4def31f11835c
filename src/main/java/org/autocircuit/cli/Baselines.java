package org.autocircuit.cli;

import com.fasterxml.jackson.databind.node.ArrayNode;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.eval.Evaluation;
import org.autocircuit.eval.FaithfulnessCurve;
import org.autocircuit.eval.PromptValues;
import org.autocircuit.eval.RandomCircuits;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.Figures;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.prune.CircuitSelection;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.WeightNormPruneScores;
import org.autocircuit.report.RecoveryCurve;
import org.autocircuit.report.TextTable;

/**
 * Yardsticks of circuits that scores pick: random ones of the same sizes, random ones whose nodes
 * have as many edges, and those of the largest weight norms.
 *
 * @param evaluation how they are measured
 * @param batches what they run on
 * @param random so many random ones of each kind are averaged over
 */
record Baselines(
    Evaluation evaluation, PatchableModel model, List<PromptPairBatch> batches, int random) {

  private static final String SIZE = "random";
  private static final String DEGREES = "same degrees";
  private static final String NORMS = "weight norms";

  /**
   * The measured shares.
   *
   * @param random so many circuits were averaged over
   * @param kinds the mean faithfulness of each kind by size, for sizes that are neither 0 nor all
   */
  record Measured(int random, Map<String, Map<Integer, Double>> kinds) {

    static final Measured NONE = new Measured(0, Map.of());

    /** Returns a table beside the curve's circuits, with a sentence on it; nothing without any. */
    String describe(FaithfulnessCurve curve) {
      if (kinds.isEmpty()) {
        return "";
      }
      TextTable table = new TextTable().indent(2).right("edges").right("faithful");
      kinds.keySet().forEach(table::right);
      for (FaithfulnessCurve.Point point : curve.points()) {
        int size = point.values().edges();
        List<String> cells = new ArrayList<>();
        cells.add(String.format(Locale.ROOT, "%,d", size));
        cells.add(Shares.faithfulness(curve, point));
        for (Map<Integer, Double> bySize : kinds.values()) {
          cells.add(bySize.containsKey(size) ? Figures.percent(bySize.get(size), 1) : "-");
        }
        table.row(cells.toArray(String[]::new));
      }
      String text =
          "Yardsticks of the same sizes: the mean of %s, that of %s whose nodes have as many edges"
                  .formatted(
                      Figures.count(random, "random circuit"), Figures.count(random, "circuit"))
              + (kinds.containsKey(NORMS) ? ", and the edges of the largest weight norms." : ".");
      return "%n%s%n%n%s".formatted(Wrap.lines(text, 80), table);
    }

    /** Puts them beside a curve on a page. */
    RecoveryCurve onto(RecoveryCurve curve) {
      RecoveryCurve with = curve;
      for (Map.Entry<String, Map<Integer, Double>> kind : kinds.entrySet()) {
        with =
            with.withBaseline(
                kind.getKey(),
                kind.getValue().entrySet().stream()
                    .map(size -> RecoveryCurve.Point.ofShare(size.getKey(), size.getValue()))
                    .toList());
      }
      return with;
    }

    void addTo(ArrayNode json) {
      kinds.forEach(
          (kind, bySize) -> {
            ArrayNode circuits = json.addObject().put("kind", kind).putArray("circuits");
            bySize.forEach(
                (size, share) ->
                    Discovery.put(circuits.addObject().put("edges", size), "faithfulness", share));
          });
    }
  }

  private record Circuit(String kind, EdgeSet edges) {}

  /** Measures them. */
  Measured measure(FaithfulnessCurve curve, PruneScores scores) {
    List<Circuit> circuits = circuits(curve, scores);
    List<PromptValues> values =
        circuits.isEmpty()
            ? List.of()
            : evaluation.measure(model, batches, circuits.stream().map(Circuit::edges).toList());
    double none = curve.empty().mean();
    double range = curve.range().value();
    Map<String, Map<Integer, Double>> means = new LinkedHashMap<>();
    for (int i = 0; i < circuits.size(); i++) {
      String kind = circuits.get(i).kind();
      double share = (values.get(i).mean() - none) / range;
      means
          .computeIfAbsent(kind, k -> new TreeMap<>())
          .merge(values.get(i).edges(), share / (kind.equals(NORMS) ? 1 : random), Double::sum);
    }
    return new Measured(random, means);
  }

  private List<Circuit> circuits(FaithfulnessCurve curve, PruneScores scores) {
    ModelGraph graph = scores.graph();
    List<Integer> sizes =
        curve.points().stream()
            .map(point -> point.values().edges())
            .filter(size -> size > 0 && size < graph.nEdges())
            .distinct()
            .toList();
    List<Circuit> circuits = new ArrayList<>();
    for (int size : sizes) {
      CircuitSelection selection = CircuitSelection.top(size);
      EdgeSet found = (curve.signed() ? selection.signed() : selection).of(scores);
      for (int seed = 0; seed < random; seed++) {
        circuits.add(new Circuit(SIZE, RandomCircuits.ofSize(graph, size, seed)));
        circuits.add(new Circuit(DEGREES, RandomCircuits.ofDegrees(found, seed)));
      }
    }
    if (haveNorms(graph)) {
      PruneScores norms = WeightNormPruneScores.of(model);
      sizes.forEach(size -> circuits.add(new Circuit(NORMS, CircuitSelection.top(size).of(norms))));
    }
    return circuits;
  }

  private static boolean haveNorms(ModelGraph graph) {
    return graph.factorized()
        && graph.config() instanceof TransformerConfig config
        && config.autoencoders().isEmpty();
  }
}
