package org.autocircuit.cli;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Locale;
import java.util.Optional;
import org.autocircuit.eval.FaithfulnessCurve;
import org.autocircuit.eval.FaithfulnessIntervals;
import org.autocircuit.internal.Figures;
import org.autocircuit.prune.VerifiedScores.Interval;
import org.autocircuit.report.TextTable;

/**
 * A curve for people and for programs.
 *
 * @param drawn its intervals, if they were asked for
 */
record CurvePart(FaithfulnessCurve curve, Optional<FaithfulnessIntervals> drawn) {

  static CurvePart of(FaithfulnessCurve curve, boolean intervals) {
    return new CurvePart(
        curve,
        intervals
            ? Optional.of(FaithfulnessIntervals.of(curve, IntervalOptions.REPLICATES, 0))
            : Optional.empty());
  }

  /** A row for each circuit. */
  TextTable table() {
    TextTable table =
        new TextTable()
            .indent(2)
            .right("edges")
            .right("share")
            .right("metric")
            .right("± s.e.")
            .right("faithful")
            .right("KL")
            .right("accuracy");
    for (int i = 0; i < curve.points().size(); i++) {
      FaithfulnessCurve.Point point = curve.points().get(i);
      table.row(
          String.format(Locale.ROOT, "%,d", point.values().edges()),
          Figures.percent(point.share(), 1),
          Figures.fixed(point.values().mean(), 4),
          Figures.fixed(point.values().standardError(), 4),
          drawn.isPresent() && curve.range().isClear()
              ? drawn.get().faithfulness().get(i).toString()
              : Shares.faithfulness(curve, point),
          Figures.fixed(point.measures().klDivergence(), 4),
          Figures.percent(point.measures().accuracy(), 1));
    }
    return table;
  }

  /** The areas, in one line or with what their intervals are. */
  String areas() {
    if (drawn.isEmpty() || !Shares.isWhole(curve)) {
      return "CPR %s, CMD %s"
          .formatted(Shares.performanceRatio(curve), Shares.modelDistance(curve));
    }
    return "CPR %s, CMD %s%n%nIn brackets: 95 per cent of the replicates of a bootstrap over prompts."
        .formatted(drawn.get().performanceRatio(), drawn.get().modelDistance());
  }

  void addTo(ObjectNode json) {
    Discovery.put(json, "range", curve.range().value());
    Discovery.put(json, "range_standard_error", curve.range().standardError());
    Discovery.put(json, "cpr", curve.performanceRatio());
    Discovery.put(json, "cmd", curve.modelDistance());
    drawn.ifPresent(
        all -> {
          put(json, "cpr_interval", all.performanceRatio());
          put(json, "cmd_interval", all.modelDistance());
        });
    ArrayNode circuits = json.putArray("circuits");
    for (int i = 0; i < curve.points().size(); i++) {
      FaithfulnessCurve.Point point = curve.points().get(i);
      ObjectNode circuit = circuits.addObject();
      circuit.put("share", point.share()).put("edges", point.values().edges());
      Discovery.put(circuit, "metric", point.values().mean());
      Discovery.put(circuit, "standard_error", point.values().standardError());
      Discovery.put(circuit, "faithfulness", point.faithfulness());
      if (drawn.isPresent()) {
        put(circuit, "faithfulness_interval", drawn.get().faithfulness().get(i));
      }
      Discovery.put(circuit, "kl", point.measures().klDivergence());
      Discovery.put(circuit, "accuracy", point.measures().accuracy());
    }
  }

  private static void put(ObjectNode json, String name, Interval interval) {
    ObjectNode of = json.putObject(name);
    Discovery.put(of, "low", interval.low());
    Discovery.put(of, "high", interval.high());
  }
}
