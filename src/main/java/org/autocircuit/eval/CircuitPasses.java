package org.autocircuit.eval;

import java.util.Collection;
import java.util.List;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.internal.Stop;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.PatchType;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.patch.Use;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;

/**
 * Passes of circuits over prompts: the activations of a batch are computed once for all circuits.
 *
 * @param onClean whether circuits run on clean prompts, and not on corrupt ones
 */
record CircuitPasses(PatchType patchType, Ablation ablation, boolean onClean) {

  /** Takes the outputs batch by batch, circuits in order. */
  interface Sink {
    void accept(int circuit, int batch, Logits logits);
  }

  /**
   * Runs all circuits on all batches.
   *
   * @param done passes to leave out, the first ones
   */
  void run(
      PatchableModel model,
      Collection<? extends PromptPairBatch> batches,
      List<EdgeSet> circuits,
      long done,
      Sink sink) {
    if (done >= (long) batches.size() * circuits.size()) {
      return;
    }
    int at = 0;
    try (Use use = model.use();
        SourceActivations means =
            ablation instanceof DatasetAblation ofAll
                ? model.sourceAblations(batches, ofAll)
                : null) {
      for (PromptPairBatch batch : batches) {
        long before = (long) at * circuits.size();
        if (done >= before + circuits.size()) {
          at++;
          continue;
        }
        long[][] input = onClean ? batch.clean() : batch.corrupt();
        long[][] other = onClean ? batch.corrupt() : batch.clean();
        try (SourceActivations own =
                ablation instanceof BatchAblation ofOne
                    ? model.sourceAblations(other, ofOne)
                    : null;
            PointerScope scope = new PointerScope()) {
          ModelInput tokens = ModelInput.ofPrompts(input, model.device());
          for (int circuit = (int) Math.max(0, done - before);
              circuit < circuits.size();
              circuit++) {
            SourceActivations activations = means == null ? own : means;
            sink.accept(circuit, at, logits(model, tokens, activations, circuits.get(circuit)));
          }
        }
        at++;
      }
    }
  }

  /** The outputs of one circuit on one input. */
  Logits logits(
      PatchableModel model, ModelInput input, SourceActivations activations, EdgeSet circuit) {
    Stop.check();
    try (PointerScope scope = new PointerScope()) {
      return logits(model, input, PatchContext.of(activations, Masks.of(circuit, patchType)));
    }
  }

  /** The full model's outputs for some prompts; open scopes have no effect. */
  static Logits fullModel(PatchableModel model, long[][] prompts) {
    try (PointerScope scope = new PointerScope()) {
      return logits(model, ModelInput.ofPrompts(prompts, model.device()), PatchContext.NONE);
    }
  }

  static Logits logits(PatchableModel model, ModelInput input, PatchContext context) {
    Tensor logits = model.forward(ForwardRequest.of(input).withContext(context)).logits();
    model.precision().requireFinite("logits", logits);
    return Logits.of(logits);
  }
}
