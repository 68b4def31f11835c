package org.autocircuit.prune;

import java.util.List;
import java.util.OptionalInt;
import java.util.stream.IntStream;
import org.autocircuit.PatchableModel;
import org.autocircuit.graph.DestModule;
import org.autocircuit.internal.Access;
import org.autocircuit.internal.BlockHooks;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.run.Passes;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ForwardResult;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.patch.PatchContext;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/**
 * The attention patterns of a batch's clean run, and the gradients of each prompt's loss in them.
 * Its tensors belong to the scope in which it was made.
 */
final class CleanPatterns {

  private static final Access.OfPatchableModel<PatchableModel, Passes> PASSES =
      Access.patchableModel(PatchableModel.class, Passes.class);

  /** Of what one call makes of all its sources. */
  private static final long NUMBERS_AT_ONCE = 1 << 20;

  private final GradientAttribution.Batch batch;
  private final CleanStreams streams;
  private final List<Tensor> patterns; // [batch, heads, seq, keys]
  private final List<Tensor> gradients;

  private CleanPatterns(
      GradientAttribution.Batch batch,
      CleanStreams streams,
      List<Tensor> patterns,
      List<Tensor> gradients) {
    this.batch = batch;
    this.streams = streams;
    this.patterns = patterns;
    this.gradients = gradients;
  }

  static CleanPatterns of(GradientAttribution.Batch batch) {
    PatchableModel model = batch.model();
    int blocks = model.config().nLayers();
    CleanStreams streams = CleanStreams.of(batch);
    List<String> names = BlockHooks.ofAll(blocks, BlockHooks.PATTERN);
    // Gradients flow from a stream that asks for them: weights do not.
    ForwardRequest fromStart =
        ForwardRequest.startingAt(0, streams.streams().get(0).clone().requires_grad_(true))
            .withOutputSlice(OutputSlice.LAST_SEQ)
            .withContext(PatchContext.NONE)
            .withReads(names);
    ForwardResult run =
        model.forward(streams.attentionMask().map(fromStart::withAttentionMask).orElse(fromStart));
    List<Tensor> patterns = names.stream().map(run::read).toList();
    // The loss is a mean over prompts.
    Tensor loss = batch.loss().loss(run.logits()).mul(new Scalar((double) batch.prompts().size()));
    TensorVector gradients =
        torch.grad(new TensorVector(loss), new TensorVector(patterns.toArray(Tensor[]::new)));
    return new CleanPatterns(
        batch,
        streams,
        patterns.stream().map(Tensor::detach).toList(),
        IntStream.range(0, blocks).mapToObj(gradients::get).toList());
  }

  /** Returns how many sources are patched at once, each by itself. */
  int sourcesAtOnce() {
    Tensor pattern = patterns.get(0);
    long ofSource =
        streams.streams().get(0).numel()
            + pattern.size(0) * pattern.size(1) * pattern.size(2) * pattern.size(3);
    return Math.toIntExact(Math.max(1, NUMBERS_AT_ONCE / ofSource));
  }

  /**
   * Returns what patched patterns do to each prompt's loss, to first order in the pattern.
   *
   * @param module queries or keys of the block, into which sources are patched
   * @param first the first source
   * @param sources how many there are
   * @param position the only one that is patched; empty: all are
   * @param byQuery whether what each query's pattern does is told by itself
   * @return {@code [batch, sources * queries * rows]} or {@code [batch, sources * rows]}, where
   *     rows are the module's; fp64
   */
  Tensor effects(
      int block, DestModule module, int first, int sources, OptionalInt position, boolean byQuery) {
    try (CallScope scope = new CallScope()) {
      Tensor ofHeads =
          PASSES
              .passes(batch.model())
              .gradients()
              .patternEffects(
                  block,
                  streams.into(block),
                  batch.differences().narrow(0, first, sources),
                  AtpStarAttribution.isKeys(module),
                  position,
                  patterns.get(block),
                  gradients.get(block));
      // Heads that share a destination: [sources, batch, rows, queries].
      Tensor ofRows = ofHeads.unflatten(2, module.nDests(), -1).sum(3);
      Tensor effects = byQuery ? ofRows.transpose(2, 3) : ofRows.sum(3);
      return scope.handOut(effects.transpose(0, 1).flatten(1, -1));
    }
  }
}
