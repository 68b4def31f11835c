package org.autocircuit.prune;

import java.util.List;
import java.util.Optional;
import org.autocircuit.internal.BlockHooks;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ForwardResult;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.patch.PatchContext;
import org.bytedeco.pytorch.Tensor;

/**
 * The residual stream that enters each block of a batch's clean run. Its tensors belong to the
 * scope in which it was made.
 */
record CleanStreams(List<Tensor> streams, Optional<Tensor> attentionMask) {

  static CleanStreams of(GradientAttribution.Batch batch) {
    ModelInput input = ModelInput.ofPrompts(batch.prompts().clean(), batch.model().device());
    List<String> names = BlockHooks.ofAll(batch.model().config().nLayers(), BlockHooks.RESID_PRE);
    ForwardResult run =
        batch
            .model()
            .forward(
                ForwardRequest.of(input)
                    .withContext(PatchContext.NONE)
                    .withGrad(false)
                    .withReads(names));
    return new CleanStreams(names.stream().map(run::read).toList(), input.attentionMask());
  }

  /** The input of a run from a block on. */
  ModelInput into(int block) {
    ModelInput stream = ModelInput.of(streams.get(block));
    return attentionMask.map(stream::withAttentionMask).orElse(stream);
  }
}
