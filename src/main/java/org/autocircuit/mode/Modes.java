package org.autocircuit.mode;

import java.util.List;
import java.util.Objects;
import org.autocircuit.internal.Access;
import org.autocircuit.internal.ScopeStack;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.MaskParameters;
import org.autocircuit.patch.MaskValues;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;

/** The modes of one model: opens them, and adds up those that are open on a thread. */
final class Modes {

  /** Counts the passes of a mask function mode. Confined to the thread that opened it. */
  private static final class Steps {
    long next;
  }

  /** {@code steps} is {@code null} outside of mask function modes, where there is no noise. */
  private record Open(PatchContext context, Steps steps) {}

  /** Lets modes write the masks of their models. */
  static final Access.OfMaskParameters<MaskParameters> MASKS =
      Access.maskParameters(MaskParameters.class);

  private final ScopeStack<Open> stack;

  Modes(String owner) {
    stack = new ScopeStack<>(owner, new Open(PatchContext.NONE, null));
  }

  /** The context of the thread's next pass, with noise of its own. */
  PatchContext next() {
    Open open = stack.current();
    PatchContext context = open.context;
    boolean random = context.maskFn() == MaskFn.HARD_CONCRETE || context.dropout() > 0;
    if (open.steps != null && random && context.noise() instanceof Noise.Seeded seeded) {
      return context.toBuilder()
          .noise(Noise.seeded(seeded.seed(), seeded.step() + open.steps.next++))
          .build();
    }
    return context;
  }

  PatchMode patch(
      SourceActivations activations, MaskValues masks, SourceActivations startSourceOutputs) {
    Open outer = stack.current();
    PatchContext context =
        outer.context.toBuilder()
            .patch(activations, masks)
            .startSourceOutputs(startSourceOutputs)
            .build();
    return PatchMode.open(stack, new Open(context, outer.steps), activations, masks);
  }

  MaskFnMode maskFn(MaskFn maskFn, double dropout, Noise noise) {
    PatchContext context =
        stack.current().context.toBuilder().maskFn(maskFn).dropout(dropout).noise(noise).build();
    return new MaskFnMode(
        stack.open("maskFnMode", new Open(context, new Steps()), () -> {}), maskFn, dropout);
  }

  TrainMaskMode train(MaskParameters parameters, boolean requiresGrad) {
    return TrainMaskMode.open(
        stack, Objects.requireNonNull(parameters, "parameters"), requiresGrad);
  }

  MaskBatchSize maskBatchSize(MaskParameters parameters, int batchSize) {
    return MaskBatchSize.open(stack, Objects.requireNonNull(parameters, "parameters"), batchSize);
  }

  List<String> describeOpen() {
    return stack.describeOpen().stream().map(Throwable::getMessage).toList();
  }

  void closeAll() {
    stack.closeAll();
  }
}
