package org.autocircuit.cli;

import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Collectors;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.eval.CircuitMeasures;
import org.autocircuit.eval.CircuitRuns;
import org.autocircuit.internal.Figures;
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
 * @param err takes the progress
 */
record CircuitComparison(
    PatchableModel model,
    List<PromptPairBatch> batches,
    Ablation ablation,
    int random,
    long seed,
    Phases phases,
    PrintWriter err) {

  /**
   * The measures.
   *
   * @param nEdges edges of the whole graph
   * @param asked the sizes that were asked for, by the size that the circuit has with all its ties
   * @param full the full model
   * @param empty the circuit of no edge
   * @param found circuits by size
   * @param random means of random circuits by size
   */
  record Measured(
      int nEdges,
      Map<Integer, List<Integer>> asked,
      CircuitMeasures full,
      CircuitMeasures empty,
      Map<Integer, CircuitMeasures> found,
      Map<Integer, CircuitMeasures> random) {

    CircuitTable table() {
      CircuitTable table = new CircuitTable(nEdges, full, empty);
      found.forEach((size, measures) -> table.row(size, measures, random.get(size)));
      return table;
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

  /** Measures circuits of the best edges; a random circuit of no edges or all would be the same. */
  Measured measure(PruneScores scores, List<Integer> sizes) {
    Map<Integer, CircuitMeasures> found;
    CircuitMeasures full;
    CircuitMeasures empty;
    try (PhaseProgress progress = PhaseProgress.of("circuits", err)) {
      found = measure(scores, sizes, progress);
      full = CircuitMeasures.ofModel(model, batches);
      // Edges with infinite scores are in every circuit that scores pick.
      PruneScores zeros = PruneScores.filled(model.graph(), 0);
      empty =
          found.containsKey(0) ? found.get(0) : measure(zeros, List.of(0), Progress.NONE).get(0);
    }
    phases.end("circuits");
    List<Integer> proper =
        found.keySet().stream().filter(size -> size > 0 && size < scores.size()).toList();
    Map<Integer, CircuitMeasures> yardsticks = Map.of();
    if (random > 0 && !proper.isEmpty()) {
      try (PhaseProgress progress = PhaseProgress.of("random circuits", err)) {
        yardsticks = random(proper, progress);
      }
      phases.end("random");
    }
    Map<Integer, List<Integer>> asked = new LinkedHashMap<>();
    for (int size : sizes) {
      asked.computeIfAbsent(scores.circuit(size).size(), n -> new ArrayList<>()).add(size);
    }
    return new Measured(scores.size(), asked, full, empty, found, yardsticks);
  }

  /** The means of all random circuits of a size, which share one progress. */
  Map<Integer, CircuitMeasures> random(List<Integer> sizes, Progress progress) {
    Map<Integer, List<CircuitMeasures>> measures = new LinkedHashMap<>();
    for (int i = 0; i < random; i++) {
      int before = i;
      measure(
              RandomPruneScores.of(model.graph(), seed + i),
              sizes,
              (done, total) -> progress.report(before * total + done, random * total))
          .forEach((size, of) -> measures.computeIfAbsent(size, k -> new ArrayList<>()).add(of));
    }
    Map<Integer, CircuitMeasures> means = new LinkedHashMap<>();
    measures.forEach((size, of) -> means.put(size, CircuitMeasures.mean(of)));
    return means;
  }

  private Map<Integer, CircuitMeasures> measure(
      PruneScores scores, List<Integer> sizes, Progress progress) {
    return CircuitRuns.builder(scores)
        .sizes(sizes)
        .patchType(PatchType.TREE_PATCH)
        .ablation(ablation)
        .progress(progress)
        .build()
        .measure(model, batches);
  }
}
