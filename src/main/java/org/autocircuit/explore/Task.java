package org.autocircuit.explore;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.autocircuit.data.PromptDataset;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.eval.AnswerScale;
import org.autocircuit.eval.CircuitMeasures;
import org.autocircuit.eval.CircuitRuns;
import org.autocircuit.eval.Evaluation;
import org.autocircuit.eval.PromptMetric;
import org.autocircuit.eval.PromptValues;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.internal.StrictJson;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.PatchType;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.text.TextModel;

/** Measures circuits on all prompts of the task. Safe for use by several threads. */
final class Task {

  private static final int BATCH_SIZE = 32;

  /**
   * Measures of the model and of no edge, which circuits are between.
   *
   * @param clear whether model and empty circuit differ by more than noise
   */
  private record Bounds(CircuitMeasures full, CircuitMeasures empty, boolean clear) {}

  private final TextModel model;
  private final List<PromptPairBatch> batches;
  private final Map<BatchAblation, Bounds> bounds = new ConcurrentHashMap<>();

  Task(TextModel model, PromptDataset prompts) {
    this.model = model;
    batches = model.batches(prompts, BATCH_SIZE);
  }

  /** Runs the circuit alone on all prompts. */
  CircuitMeasures measure(EdgeSet kept, BatchAblation ablation) {
    return CircuitRuns.builder(PruneScores.ofCircuit(kept))
        .sizes(List.of(kept.size()))
        .patchType(PatchType.TREE_PATCH)
        .ablation(ablation)
        .build()
        .measure(model.model(), batches)
        .get(kept.size());
  }

  /** The measures as JSON; {@code page/measures.js} reads them. */
  ObjectNode json(EdgeSet kept, BatchAblation ablation) {
    Bounds between = bounds.computeIfAbsent(ablation, this::bounds);
    CircuitMeasures measures = measure(kept, ablation);
    double recovered = measures.recovered(between.full(), between.empty());
    ObjectNode json = StrictJson.MAPPER.createObjectNode();
    json.put("difference", measures.logitDifference()).put("kl", measures.klDivergence());
    json.put("accuracy", measures.accuracy());
    json.put("full", between.full().logitDifference());
    json.put("empty", between.empty().logitDifference());
    // Shares of noise mean nothing.
    return between.clear() && Double.isFinite(recovered)
        ? json.put("recovered", recovered)
        : json.putNull("recovered");
  }

  private Bounds bounds(BatchAblation ablation) {
    EdgeSet none = EdgeSet.none(model.graph());
    List<PromptValues> ends =
        Evaluation.of(PromptMetric.answerDifference(AnswerScale.LOGIT))
            .withAblation(ablation)
            .measure(model.model(), batches, List.of(none, none.complement()));
    return new Bounds(
        CircuitMeasures.ofModel(model.model(), batches),
        measure(none, ablation),
        ends.get(1).minus(ends.get(0)).isClear());
  }
}
