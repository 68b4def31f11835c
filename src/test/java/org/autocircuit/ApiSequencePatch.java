package org.autocircuit;

import java.util.HashSet;
import java.util.Set;
import org.autocircuit.ApiSequenceState.Activations;
import org.autocircuit.ApiSequenceState.OwnModel;
import org.autocircuit.ApiSequenceState.Worker;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.MaskValues;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;

/** Holds what a pass is patched with: masks of a thread or fixed ones; neither where it is not. */
record ApiSequencePatch(Activations activations, ApiSequenceMasks own, Masks fixed, MaskFn maskFn) {

  static final ApiSequencePatch NONE = new ApiSequencePatch(null, null, null, MaskFn.NONE);

  /** The noise of every context's samples, so that they are the same in all passes. */
  static final Noise NOISE = Noise.seeded(5, 3);

  /** Returns what may be wrong with a pass; nothing: it succeeds. */
  Set<Class<?>> failures(OwnModel model, Worker worker) {
    Set<Class<?>> failures = new HashSet<>(failures(worker, ApiSequenceReference.BATCH));
    if (model.closed || model.prefixIsClosed()) {
      failures.add(IllegalStateException.class);
    }
    return failures;
  }

  /** Returns what may be wrong with activations and masks. */
  Set<Class<?>> failures(Worker worker, int batch) {
    Set<Class<?>> failures = new HashSet<>();
    boolean refused = own != null && own.failure(worker) != null;
    if (refused || (activations != null && activations.closed)) {
      failures.add(IllegalStateException.class);
    }
    // Whoever may not use masks is not told for how many examples they are.
    if (own != null && !refused && own.examples() != 0 && own.examples() != batch) {
      failures.add(IllegalArgumentException.class);
    }
    return failures;
  }

  boolean isPatched() {
    return activations != null;
  }

  boolean isRecorded() {
    return own != null && own.requiresGrad();
  }

  MaskValues maskValues() {
    return own != null ? own.parameters : fixed;
  }

  /** The values of now, as masks that nobody changes. */
  Masks values(ModelGraph graph) {
    if (own == null) {
      return fixed;
    }
    if (own.examples() == 0) {
      return Masks.of(graph, own.values());
    }
    double[][] rows = new double[own.examples()][];
    int size = graph.maskSize();
    for (int i = 0; i < rows.length; i++) {
      rows[i] = java.util.Arrays.copyOfRange(own.values(), i * size, (i + 1) * size);
    }
    return Masks.perExample(graph, rows);
  }

  /** Noise where samples are drawn. */
  Noise noise() {
    return maskFn == MaskFn.HARD_CONCRETE ? NOISE : Noise.DEFAULT;
  }

  PatchContext context() {
    return isPatched()
        ? PatchContext.builder(activations.activations, maskValues())
            .maskFn(maskFn)
            .noise(noise())
            .build()
        : PatchContext.NONE;
  }

  @Override
  public String toString() {
    return isPatched()
        ? "%s, %s, %s".formatted(activations, own != null ? own : "fixed masks", maskFn)
        : "no patch";
  }
}
