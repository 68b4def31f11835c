package org.autocircuit.explore;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Supplier;
import org.autocircuit.PatchableModel;
import org.autocircuit.eval.Logits;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.patch.Use;

/** A prompt with its corrupt twin, and what of their passes is the same whatever is patched. */
final class Pair implements AutoCloseable {

  private final long[][] clean;
  private final long[][] corrupt;
  private final Logits plain;
  private final Logits other;
  private final SourceActivations activations;
  private final Map<Integer, Logits> empty = new ConcurrentHashMap<>();

  /** Runs both prompts, which are equally long. */
  Pair(PatchableModel model, long[] clean, long[] corrupt, BatchAblation ablation) {
    this.clean = new long[][] {clean};
    this.corrupt = new long[][] {corrupt};
    plain = run(model, this.clean, PatchContext.NONE);
    other = run(model, this.corrupt, PatchContext.NONE);
    activations = model.sourceAblations(this.corrupt, ablation);
  }

  long[] clean() {
    return clean[0];
  }

  long[] corrupt() {
    return corrupt[0];
  }

  int length() {
    return clean[0].length;
  }

  /** Logits after the prompt. */
  Logits plain() {
    return plain;
  }

  /** Logits after the corrupt one. */
  Logits other() {
    return other;
  }

  /** Activations that patched edges carry. */
  SourceActivations activations() {
    return activations;
  }

  /** Runs the prompt, with edges patched as masks say. */
  Logits patched(PatchableModel model, Masks masks) {
    return run(model, clean, PatchContext.of(activations, masks));
  }

  /** Logits after the prompt when all edges are patched, at all positions or at one. */
  Logits empty(PatchableModel model, int at, Supplier<Masks> all) {
    return empty.computeIfAbsent(at, key -> patched(model, all.get()));
  }

  private static Logits run(PatchableModel model, long[][] tokens, PatchContext context) {
    Logits logits = Logits.of(model.logits(tokens, context));
    if (!logits.isFinite(0)) {
      throw model.precision().notFinite("logits");
    }
    return logits;
  }

  /** Keeps the activations open for this thread, until what is returned is closed on it. */
  Use use() {
    Use nothing = () -> {};
    return nothing.and(activations::use);
  }

  @Override
  public void close() {
    activations.close();
  }
}
