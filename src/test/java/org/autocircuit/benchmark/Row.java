package org.autocircuit.benchmark;

import java.util.OptionalDouble;
import java.util.OptionalLong;
import java.util.function.Function;
import java.util.function.ToLongFunction;
import org.autocircuit.graph.ModelGraph;

/** One thing that is measured, each time next to a plain forward pass. */
@SuppressWarnings("ImmutableEnumChecker") // its functions have no state
public enum Row {
  /** A plain pass against itself: how far the ratios can be trusted. */
  PLAIN("plain forward", Workload::plainForward, FlopCount::plain),
  PLAIN_AT_LAST(
      "plain forward for the last position", Workload::plainForwardAtLast, FlopCount::plainAtLast),
  RAW("plain forward, raw operations", Workload::rawForward, FlopCount::plain),
  /** The memory that attribution is compared with; from the second block on, see Workload. */
  PLAIN_BACKWARD(
      "plain forward and backward", Workload::plainBackward, count -> 0, OptionalDouble.empty(), 1),
  DENSE("patched forward, dense", Workload::densePatchedForward, FlopCount::patched, 1.6),
  PLAIN_BF16("plain forward, bf16", w -> w.sixteenBits().plainForward(), FlopCount::plain),
  DENSE_BF16(
      "patched forward, dense, bf16",
      w -> w.sixteenBits().densePatchedForward(),
      FlopCount::patched),
  PER_POSITION(
      "patched forward, masks per position",
      Workload::perPositionPatchedForward,
      FlopCount::patched,
      1.8),
  PER_EXAMPLE(
      "patched forward, masks per example",
      Workload::perExamplePatchedForward,
      FlopCount::patched,
      2.0),
  SPARSE("edge patching, 1 % of the edges", Workload::sparsePatchedForward, 1.3),
  NO_EDGE("all masks 0", Workload::noEdgePatchedForward, FlopCount::plainAtLast, 1.05),
  ALL_EDGES("all edges patched", Workload::allEdgesPatchedForward, 0.1),
  TREE_1("tree patching, 1 % of the edges", workload -> workload.randomCircuit(0.01), 0.1),
  TREE_3("tree patching, 3 % of the edges", workload -> workload.randomCircuit(0.03), 0.35),
  TREE_10("tree patching, 10 % of the edges", workload -> workload.randomCircuit(0.1), 1.2),
  TREE_CONFINED("tree patching, among 10 % of heads and MLPs", Workload::confinedCircuit, 0.25),
  TEN_CIRCUITS("ten circuits of 0 to 100 % of the edges", Workload::tenCircuits, 8.5),
  MASK_GRADIENT("mask gradient at 0", Workload::maskGradient, FlopCount::maskGradient, 3.7),
  GIM_GRADIENT(
      "mask gradient at 0, GIM's rules", Workload::gimGradient, FlopCount::maskGradient, 3.9),
  FURTHER_GRADIENT(
      "mask gradient, a further point",
      Workload::furtherMaskGradient,
      FlopCount::furtherMaskGradient,
      3.0),
  TRAINING_STEP(
      "training step, hard-concrete masks",
      Workload::trainingStep,
      FlopCount::furtherMaskGradient,
      4.5),
  DIVERGENCE_STEP(
      "training step on the divergence, one native call",
      workload -> workload.attributions().trainingStep(),
      FlopCount::furtherMaskGradient,
      4.5),
  EDGE_PRUNING_STEP(
      "edge pruning step, masks of edges and nodes",
      workload -> workload.attributions().edgePruningStep(),
      FlopCount::furtherMaskGradient),
  SCORES("edge attribution patching, the whole call", w -> w.attributions().plain(), count -> 0),
  SCORES_OF_PROMPTS(
      "the same, scores of each prompt", w -> w.attributions().ofEachPrompt(), count -> 0),
  INPUT_GRADIENTS(
      "integrated gradients over inputs, 5 points", w -> w.attributions().overInputs(), 12),
  ACTIVATION_GRADIENTS(
      "integrated gradients over activations, 5 points",
      w -> w.attributions().overActivations(),
      count -> 0),
  ATP_STAR(
      "edge attribution patching with AtP*'s queries and keys",
      w -> w.attributions().correctedQueriesAndKeys(),
      count -> 0),
  ACDC_FEW_STAY(
      "an ACDC test, 5 to 10 % of the edges stay",
      workload -> workload.searches().acdcFewStay(), 0.25),
  ACDC_HALF_SHARED(
      "an ACDC test, half of the tokens shared",
      workload -> workload.halfSharedSearches().acdcFewStay(),
      0.25),
  ACDC_ALL_STAY(
      "an ACDC test, all edges stay", workload -> workload.searches().acdcAllStay(), 0.45),
  EXACT_PATCHING(
      "activation patching of an edge", workload -> workload.searches().exactPatching(), 0.4),
  CONTEXT_BY_EDGE("context entry, 1000 edges", Workload::enterContextByEdge),
  CONTEXT_BY_NAME("context entry, 1000 edge names", Workload::enterContextByName),
  MASKS("masks and context of 1000 names", Workload::buildMasks),
  GRAPH("graph construction", Workload::constructGraph),
  PATCHABLE("patchable model construction", Workload::makePatchable);

  private static final int REPETITIONS_WITHOUT_ARITHMETIC = 50;

  private final String label;
  private final Function<Workload, Object> action;
  private final ToLongFunction<FlopCount> flops;
  private final OptionalDouble limit;
  private final int repetitions;

  Row(
      String label,
      Function<Workload, Object> action,
      ToLongFunction<FlopCount> flops,
      OptionalDouble limit,
      int repetitions) {
    this.label = label;
    this.action = action;
    this.flops = flops;
    this.limit = limit;
    this.repetitions = repetitions;
  }

  Row(
      String label,
      Function<Workload, Object> action,
      ToLongFunction<FlopCount> flops,
      double limit) {
    this(label, action, flops, OptionalDouble.of(limit), 1);
  }

  /** A row whose arithmetic depends on the circuit. */
  Row(String label, Function<Workload, Object> action, double limit) {
    this(label, action, count -> 0, OptionalDouble.of(limit), 1);
  }

  Row(String label, Function<Workload, Object> action, ToLongFunction<FlopCount> flops) {
    this(label, action, flops, OptionalDouble.empty(), 1);
  }

  Row(String label, Function<Workload, Object> action) {
    this(label, action, count -> 0, OptionalDouble.empty(), REPETITIONS_WITHOUT_ARITHMETIC);
  }

  /** Returns what it is called in reports. */
  String label() {
    return label;
  }

  Object run(Workload workload) {
    return action.apply(workload);
  }

  /** Operations of one run; 0 where it does no arithmetic. */
  long flops(FlopCount count) {
    return flops.applyAsLong(count);
  }

  /** The largest ratio to a plain pass that is accepted. */
  OptionalDouble limit() {
    return limit;
  }

  /** The most milliseconds that are accepted where no arithmetic is done. */
  OptionalDouble millisecondsLimit() {
    return switch (this) {
      case CONTEXT_BY_EDGE, CONTEXT_BY_NAME -> OptionalDouble.of(1);
      case PATCHABLE -> OptionalDouble.of(20);
      default -> OptionalDouble.empty();
    };
  }

  /**
   * Returns how many bytes above the loaded model are accepted.
   *
   * @param backward what a plain backward keeps
   */
  OptionalLong peakLimit(BenchmarkSize size, long backward) {
    ModelGraph graph = ModelGraph.of(size.config(), true, true);
    long tokens = (long) BenchmarkSize.BATCH * BenchmarkSize.SEQ;
    long buffer = tokens * Float.BYTES * graph.srcs().size() * size.config().dModel();
    // Masks of each prompt, their gradient, two moments, noise, and what the mask function gives.
    long masks = 6L * Float.BYTES * BenchmarkSize.BATCH * graph.maskSize();
    return switch (this) {
      case MASK_GRADIENT -> OptionalLong.of(2 * buffer + backward);
      case TRAINING_STEP -> OptionalLong.of(3 * buffer + backward + masks);
      default -> OptionalLong.empty();
    };
  }

  /** Returns whether every round runs another circuit, or other edges. */
  boolean hasCircuitOfEachRound() {
    return switch (this) {
      case TREE_1, TREE_3, TREE_10 -> true;
      default -> timesItself();
    };
  }

  /** Returns whether a run says itself how long it took: a {@code Long} of nanoseconds. */
  boolean timesItself() {
    return switch (this) {
      case EDGE_PRUNING_STEP, ACDC_FEW_STAY, ACDC_HALF_SHARED, ACDC_ALL_STAY, EXACT_PATCHING ->
          true;
      default -> false;
    };
  }

  /** Returns how often it runs in one round, which then counts the mean. */
  int repetitions() {
    return repetitions;
  }
}
