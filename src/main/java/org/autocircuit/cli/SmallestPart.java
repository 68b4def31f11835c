package org.autocircuit.cli;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.PrintWriter;
import java.util.List;
import java.util.Optional;
import org.autocircuit.PatchableModel;
import org.autocircuit.eval.AnswerScale;
import org.autocircuit.eval.Evaluation;
import org.autocircuit.eval.MeanDifference;
import org.autocircuit.eval.PromptMetric;
import org.autocircuit.eval.PromptValues;
import org.autocircuit.eval.SmallestCircuit;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.internal.Figures;
import org.autocircuit.patch.Ablation;
import org.autocircuit.prune.PruneScores;

/**
 * The smallest circuit that is as faithful as it has to be on the prompts that circuits are found
 * with.
 *
 * @param found the circuit
 * @param none the metric of no edge on the prompts that circuits are tested with
 * @param full that of all edges
 * @param values that of the circuit
 */
record SmallestPart(
    SmallestCircuit found, PromptValues none, PromptValues full, PromptValues values) {

  private static final double SHARE = 0.95;

  /** Searches; finds none where all edges are not clearly worth more than none. */
  static Optional<SmallestPart> find(
      PatchableModel model,
      Prompts prompts,
      PruneScores scores,
      Ablation ablation,
      PrintWriter err) {
    Evaluation evaluation =
        Evaluation.of(PromptMetric.answerDifference(AnswerScale.LOGIT)).withAblation(ablation);
    EdgeSet none = EdgeSet.none(scores.graph());
    EdgeSet all = EdgeSet.all(scores.graph());
    try (PhaseProgress progress = PhaseProgress.of("smallest circuit", err)) {
      List<PromptValues> ends = evaluation.measure(model, prompts.finding(), List.of(none, all));
      if (!ends.get(1).minus(ends.get(0)).isClear()) {
        return Optional.empty();
      }
      SmallestCircuit found =
          SmallestCircuit.find(
              evaluation, model, prompts.finding(), scores, SHARE, false, progress);
      List<PromptValues> tested =
          evaluation.measure(model, prompts.testing(), List.of(none, all, found.circuit()));
      return Optional.of(new SmallestPart(found, tested.get(0), tested.get(1), tested.get(2)));
    }
  }

  /** Its faithfulness on the prompts that circuits are tested with. */
  double tested() {
    MeanDifference range = full.minus(none);
    return range.isClear() ? values.minus(none).value() / range.value() : Double.NaN;
  }

  /** The sentence for people. */
  String describe(boolean heldOut) {
    String text =
        ("The smallest circuit that is %s faithful on the prompts that circuits are found with, of"
                + " those tried, has %s: there it is %s faithful")
            .formatted(
                Figures.percent(SHARE, 0),
                Figures.count(found.circuit().size(), "edge"),
                Figures.percent(found.faithfulness(), 1));
    return heldOut
        ? text
            + ", on the held-out prompts, those of the table, %s."
                .formatted(Figures.orDash(tested(), Figures.percent(tested(), 1)))
        : text + ".";
  }

  void addTo(ObjectNode json) {
    json.put("share", SHARE).put("edges", found.circuit().size());
    Discovery.put(json, "faithfulness", found.faithfulness());
    Discovery.put(json, "faithfulness_held_out", tested());
  }
}
