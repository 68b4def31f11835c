package org.autocircuit.cli;

import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.eval.AnswerScale;
import org.autocircuit.eval.CircuitMeasures;
import org.autocircuit.eval.CircuitRuns;
import org.autocircuit.eval.Evaluation;
import org.autocircuit.eval.MeanDifference;
import org.autocircuit.eval.PromptMetric;
import org.autocircuit.eval.PromptValues;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.Figures;
import org.autocircuit.pass.Checkpoint;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.PatchType;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.RandomPruneScores;
import org.autocircuit.report.CircuitTable;

/**
 * Runs circuits of several sizes, and random circuits of the same sizes beside them.
 *
 * @param model the model they are circuits of
 * @param batches prompts to run them on
 * @param ablation what all edges but a circuit's are patched with
 * @param random random circuits of each size to average over
 * @param seed seed of the first random circuits
 * @param phases is told what has ended
 * @param checkpoints where each part keeps how far it is
 * @param err takes the progress
 */
record CircuitComparison(
    PatchableModel model,
    List<PromptPairBatch> batches,
    Ablation ablation,
    int random,
    long seed,
    Phases phases,
    Function<String, Checkpoint> checkpoints,
    PrintWriter err) {

  /**
   * The measures.
   *
   * @param nEdges edges of the whole graph
   * @param asked the sizes that were asked for, by the size that the circuit has with all its ties
   * @param range by how much the full model's logit difference is above that of no edge
   * @param full the full model
   * @param empty the circuit of no edge
   * @param found circuits by size
   * @param random means of random circuits by size
   */
  record Measured(
      int nEdges,
      Map<Integer, List<Integer>> asked,
      MeanDifference range,
      CircuitMeasures full,
      CircuitMeasures empty,
      Map<Integer, CircuitMeasures> found,
      Map<Integer, CircuitMeasures> random) {

    CircuitTable table() {
      CircuitTable table = new CircuitTable(nEdges, full, empty);
      if (!range.isClear()) {
        table.withoutShares();
      }
      found.forEach((size, measures) -> table.row(size, measures, random.get(size)));
      return table;
    }

    private Measured with(
        Map<Integer, CircuitMeasures> circuits, Map<Integer, CircuitMeasures> yardsticks) {
      return new Measured(nEdges, asked, range, full, empty, circuits, yardsticks);
    }

    /**
     * Says which circuits are larger than asked for, since edges with equal scores stay together.
     */
    Optional<String> ties() {
      String larger =
          asked.entrySet().stream()
              .filter(sizes -> sizes.getValue().stream().anyMatch(n -> !n.equals(sizes.getKey())))
              .map(sizes -> larger(sizes.getKey(), sizes.getValue()))
              .collect(Collectors.joining("; "));
      return larger.isEmpty()
          ? Optional.empty()
          : Optional.of("Edges whose scores are equal stay together: %s.".formatted(larger));
    }

    private static String larger(int size, List<Integer> asked) {
      String sizes =
          asked.stream()
              .filter(n -> n != size)
              .map(n -> String.format(Locale.ROOT, "%,d", n))
              .collect(Collectors.joining(", "));
      return String.format(Locale.ROOT, "for %s the circuit has %,d", sizes, size);
    }

    /** Says which of the circuits that scores pick have edges, but none that does anything. */
    List<String> emptyCircuits(PruneScores scores) {
      return found.keySet().stream()
          .filter(size -> size > 0 && scores.circuit(size).onPaths().isEmpty())
          .map(size -> Figures.count(size, "edge") + ", none on a whole path: the empty circuit")
          .toList();
    }
  }

  /**
   * Measures circuits of the best edges; a random circuit of no edges or all would be the same.
   *
   * @throws StoppedException if it was stopped; has the {@link Measured} of what was done
   */
  Measured measure(PruneScores scores, List<Integer> sizes) {
    ModelGraph graph = model.graph();
    List<PromptValues> ends =
        Evaluation.of(PromptMetric.answerDifference(AnswerScale.LOGIT))
            .withAblation(ablation)
            .measure(model, batches, List.of(EdgeSet.none(graph), EdgeSet.all(graph)));
    CircuitMeasures full = CircuitMeasures.ofModel(model, batches);
    // Edges with infinite scores are in every circuit that scores pick.
    PruneScores zeros = PruneScores.filled(graph, 0);
    CircuitMeasures empty = measure(zeros, List.of(0), Progress.NONE, Checkpoint.NONE).get(0);
    Map<Integer, List<Integer>> asked = new LinkedHashMap<>();
    for (int size : sizes) {
      asked.computeIfAbsent(scores.circuit(size).size(), n -> new ArrayList<>()).add(size);
    }
    Measured ended =
        new Measured(
            scores.size(), asked, ends.get(1).minus(ends.get(0)), full, empty, Map.of(), Map.of());
    try (PhaseProgress progress = PhaseProgress.of("circuits", err)) {
      ended = ended.with(measure(scores, sizes, progress, checkpoints.apply("circuits")), Map.of());
    } catch (StoppedException e) {
      @SuppressWarnings("unchecked") // runs of circuits have measures by size
      Map<Integer, CircuitMeasures> done = e.partial(Map.class).orElse(Map.of());
      throw new StoppedException(e, ended.with(done, Map.of()));
    }
    phases.end("circuits");
    List<Integer> proper =
        ended.found().keySet().stream().filter(size -> size > 0 && size < scores.size()).toList();
    if (random > 0 && !proper.isEmpty()) {
      try (PhaseProgress progress = PhaseProgress.of("random circuits", err)) {
        ended = ended.with(ended.found(), random(proper, progress));
      } catch (StoppedException e) {
        throw new StoppedException(e, ended);
      }
      phases.end("random");
    }
    return ended;
  }

  /** The means of all random circuits of a size, which share one progress. */
  Map<Integer, CircuitMeasures> random(List<Integer> sizes, Progress progress) {
    Map<Integer, List<CircuitMeasures>> measures = new LinkedHashMap<>();
    for (int i = 0; i < random; i++) {
      int before = i;
      measure(
              RandomPruneScores.of(model.graph(), seed + i),
              sizes,
              (done, total) -> progress.report(before * total + done, random * total),
              checkpoints.apply("random circuits " + (i + 1)))
          .forEach((size, of) -> measures.computeIfAbsent(size, k -> new ArrayList<>()).add(of));
    }
    Map<Integer, CircuitMeasures> means = new LinkedHashMap<>();
    measures.forEach((size, of) -> means.put(size, CircuitMeasures.mean(of)));
    return means;
  }

  private Map<Integer, CircuitMeasures> measure(
      PruneScores scores, List<Integer> sizes, Progress progress, Checkpoint checkpoint) {
    return CircuitRuns.builder(scores)
        .sizes(sizes)
        .patchType(PatchType.TREE_PATCH)
        .ablation(ablation)
        .progress(progress)
        .build()
        .measure(model, batches, checkpoint);
  }
}
