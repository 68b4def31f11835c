package org.autocircuit.golden;

import java.util.Arrays;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;
import org.autocircuit.graph.Edge;

/**
 * Operations whose results differ from the reference's by design. What this library does instead is
 * compared with other results of the reference, or of this library.
 */
final class GoldenDifferences {

  private GoldenDifferences() {}

  /** Returns why an operation's result differs, or nothing if it does not. */
  static Optional<String> reason(GoldenOp op) {
    if (op.raises() != null) {
      return Optional.of(
          op.goldenCase().referenceFailsToPatch()
              ? "the reference cannot patch this grouped-query model"
              : "the reference raises " + op.raises());
    }
    GoldenCase golden = op.goldenCase();
    return switch (op.name()) {
      case "edge_attribution_patching" ->
          reason(golden.seqLen().isPresent(), "the reference gives each position the sum over all");
      case "activation_magnitude" ->
          reason(
              golden.graph().destModules().stream().anyMatch(module -> module.inStart() > 0),
              "the reference takes the first sources for those that a destination reads");
      case "patch_edges_by_name" ->
          reason(namesUnknownEdges(op), "the reference ignores names of unknown edges");
      case "subnetwork_probing" ->
          reason(leastScore(op) > 0, "the reference's least score is not 0");
      default -> Optional.empty();
    };
  }

  private static Optional<String> reason(boolean differs, String reason) {
    return differs ? Optional.of(reason) : Optional.empty();
  }

  private static boolean namesUnknownEdges(GoldenOp op) {
    Set<String> known =
        op.goldenCase().graph().edges().stream().map(Edge::name).collect(Collectors.toSet());
    for (var name : op.param("edge_names")) {
      if (!known.contains(name.asText())) {
        return true;
      }
    }
    return false;
  }

  /** The least of the reference's scores; this library's is 0 always. */
  static double leastScore(GoldenOp op) {
    return op.outputByModule("prune_scores").values().stream()
        .flatMapToDouble(scores -> Arrays.stream(scores.doubles()))
        .min()
        .orElseThrow();
  }
}
