package org.autocircuit.prune;

import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.Map;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.internal.CallScope;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.patch.PatchContext;
import org.bytedeco.pytorch.Tensor;

/**
 * Says what the full model puts out on the clean prompts of batches, for comparison with a patched
 * one. The targets of the last batches are kept, as many as fit into a number of bytes. For one
 * thread; closed on any.
 */
final class FullModelTargets implements AutoCloseable {

  private final PatchableModel model;
  private final FaithfulnessTarget faithfulness;
  private final boolean shares;
  private final long memory;

  /** By the batch's key, the one used last at the end. */
  private final Map<String, Tensor> kept = new LinkedHashMap<>(16, 0.75f, true);

  private long bytes;

  /**
   * Keeps targets of up to so many bytes.
   *
   * @param shares whether answers are compared, by their {@link AnswerShares}, not distributions
   */
  FullModelTargets(
      PatchableModel model, FaithfulnessTarget faithfulness, boolean shares, long memory) {
    this.model = model;
    this.faithfulness = faithfulness;
    this.shares = shares;
    this.memory = memory;
  }

  /** Says how outputs are compared, unless it is by the shares of their answers. */
  FaithfulnessTarget faithfulness() {
    return faithfulness;
  }

  /** Returns whether it is by the shares of their answers. */
  boolean shares() {
    return shares;
  }

  /** The distance of logits on these prompts to the full model's; differentiable. */
  Tensor distance(Tensor logits, Tensor target, ModelInput input) {
    return shares
        ? AnswerShares.distance(logits, target)
        : faithfulness.divergence(logits, target, input.attentionMask());
  }

  /**
   * Returns what the full model puts out on a batch's clean prompts, as the comparison needs it.
   *
   * @param scope open as long as it is used
   */
  Tensor target(PromptPairBatch batch, CallScope scope) {
    Tensor target = kept.get(batch.key());
    if (target == null) {
      target = target(batch);
      keep(batch.key(), target, scope);
    }
    return target;
  }

  private Tensor target(PromptPairBatch batch) {
    ModelInput clean = ModelInput.ofPrompts(batch.clean(), model.device());
    ForwardRequest plain = ForwardRequest.of(clean).withContext(PatchContext.NONE).withGrad(false);
    Tensor logits = model.forward(plain).logits();
    model.precision().requireFinite("logits", logits);
    Tensor accurate = logits.to(model.precision().accumulation().scalarType());
    return shares
        ? AnswerShares.target(accurate, batch.answers(), batch.wrongAnswers())
        : faithfulness.target(accurate);
  }

  /** Keeps a target as long as there is room for it; the one used least recently goes first. */
  private void keep(String key, Tensor target, CallScope scope) {
    if (target.nbytes() > memory) {
      return;
    }
    kept.put(key, scope.keep(target));
    bytes += target.nbytes();
    Iterator<Tensor> oldest = kept.values().iterator();
    while (bytes > memory) {
      Tensor given = oldest.next();
      oldest.remove();
      bytes -= given.nbytes();
      given.releaseReference();
    }
  }

  /** Memory of the targets that are kept. */
  long bytes() {
    return bytes;
  }

  @Override
  public void close() {
    kept.values().forEach(Tensor::releaseReference);
  }
}
