package org.autocircuit.prune;

import java.util.Collection;
import java.util.function.BiConsumer;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.internal.Settings;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.SourceActivations;

/** Batches, each with what it is patched with. */
final class PatchedBatches {

  private PatchedBatches() {}

  static void requireSome(Collection<? extends PromptPairBatch> batches) {
    if (batches.isEmpty()) {
      throw new IllegalArgumentException("batches: expected at least one, got none");
    }
  }

  /**
   * Refuses prompts that an ablation would not look at.
   *
   * @param settings may have a {@code patchInput}
   */
  static void requireUse(Settings settings, Ablation ablation) {
    if (ablation instanceof DatasetAblation || ablation == BatchAblation.ZERO) {
      settings.refuse("the ablation " + ablation + " depends on no single batch", "patchInput");
    }
  }

  /**
   * Visits each batch with activations that are open that long: one mean over all batches, or those
   * of the batch's own prompts.
   *
   * @param patchInput the prompts that activations of a single batch are computed from
   * @throws IllegalArgumentException if there is no batch
   */
  static void forEach(
      PatchableModel model,
      Collection<? extends PromptPairBatch> batches,
      Ablation ablation,
      CleanCorrupt patchInput,
      BiConsumer<PromptPairBatch, SourceActivations> visitor) {
    forEach(model, batches, ablation, patchInput, 1, 0, visitor);
  }

  /**
   * Visits all batches so many times; a mean over all of them is computed once.
   *
   * @param done visits to leave out, the first ones
   */
  static void forEach(
      PatchableModel model,
      Collection<? extends PromptPairBatch> batches,
      Ablation ablation,
      CleanCorrupt patchInput,
      int times,
      long done,
      BiConsumer<PromptPairBatch, SourceActivations> visitor) {
    requireSome(batches);
    if (done >= (long) times * batches.size()) {
      return;
    }
    try (SourceActivations mean =
        ablation instanceof DatasetAblation ofAll ? model.sourceAblations(batches, ofAll) : null) {
      long visit = 0;
      for (int time = 0; time < times; time++) {
        for (PromptPairBatch batch : batches) {
          if (visit++ < done) {
            continue;
          }
          if (mean != null) {
            visitor.accept(batch, mean);
            continue;
          }
          try (SourceActivations own =
              model.sourceAblations(patchInput.of(batch), (BatchAblation) ablation)) {
            visitor.accept(batch, own);
          }
        }
      }
    }
  }

  /** Hands the scores {@code [prompts][edges]} of a batch out, prompt by prompt. */
  static void eachPrompt(PromptPairBatch batch, double[] scores, PromptSink sink) {
    double[] ofPrompt = new double[scores.length / batch.size()];
    for (int prompt = 0; prompt < batch.size(); prompt++) {
      System.arraycopy(scores, prompt * ofPrompt.length, ofPrompt, 0, ofPrompt.length);
      sink.accept(batch.pairs().get(prompt), ofPrompt);
    }
  }
}
