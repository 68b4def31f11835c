package org.autocircuit.benchmark;

import java.util.OptionalDouble;
import java.util.function.Function;
import java.util.function.ToLongFunction;

/** One thing that is measured, each time next to a plain forward pass. */
@SuppressWarnings("ImmutableEnumChecker") // its functions have no state
public enum Row {
  /** A plain pass against itself: how far the ratios can be trusted. */
  PLAIN("plain forward", Workload::plainForward, FlopCount::plain),
  RAW("plain forward, raw operations", Workload::rawForward, FlopCount::plain),
  DENSE("patched forward, dense", Workload::densePatchedForward, FlopCount::patched, 2.5),
  SPARSE("patched forward, 1 % of the edges", Workload::sparsePatchedForward, FlopCount::patched),
  MASK_GRADIENT("mask gradient at 0", Workload::maskGradient, FlopCount::maskGradient, 8.0),
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

  Row(String label, Function<Workload, Object> action, ToLongFunction<FlopCount> flops) {
    this(label, action, flops, OptionalDouble.empty(), 1);
  }

  Row(String label, Function<Workload, Object> action) {
    this(label, action, count -> 0, OptionalDouble.empty(), REPETITIONS_WITHOUT_ARITHMETIC);
  }

  /** What it is called in reports. */
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

  /** How often it runs in one round, which then counts the mean. */
  int repetitions() {
    return repetitions;
  }
}
