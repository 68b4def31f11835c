package org.autocircuit.prune;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import org.autocircuit.PatchableModel;
import org.autocircuit.internal.CallScope;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ForwardResult;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.patch.PatchContext;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The attention patterns of a batch's clean run, and the gradients of each prompt's loss in them.
 * Its tensors belong to the scope in which it was made.
 */
final class CleanPatterns {

  private final GradientAttribution.Batch batch;
  private final ModelInput input;
  private final List<Tensor> streams; // that enter the blocks
  private final List<Tensor> patterns; // [batch, heads, seq, keys]
  private final List<Tensor> gradients;

  private CleanPatterns(
      GradientAttribution.Batch batch,
      ModelInput input,
      List<Tensor> streams,
      List<Tensor> patterns,
      List<Tensor> gradients) {
    this.batch = batch;
    this.input = input;
    this.streams = streams;
    this.patterns = patterns;
    this.gradients = gradients;
  }

  static CleanPatterns of(GradientAttribution.Batch batch) {
    PatchableModel model = batch.model();
    ModelInput input = ModelInput.ofPrompts(batch.prompts().clean(), model.device());
    int blocks = model.config().nLayers();
    List<String> streamNames = names(blocks, "hook_resid_pre");
    List<String> patternNames = names(blocks, "attn.hook_pattern");
    // Gradients flow from a stream that asks for them: weights do not.
    Tensor start =
        model
            .forward(
                ForwardRequest.of(input)
                    .withContext(PatchContext.NONE)
                    .withGrad(false)
                    .withReads(streamNames.get(0)))
            .read(streamNames.get(0))
            .requires_grad_(true);
    List<String> reads = new ArrayList<>(streamNames);
    reads.addAll(patternNames);
    ForwardResult run =
        model.forward(from(0, start, input).withContext(PatchContext.NONE).withReads(reads));
    List<Tensor> patterns = patternNames.stream().map(run::read).toList();
    // The loss is a mean over prompts.
    Tensor loss = batch.loss().loss(run.logits()).mul(new Scalar((double) batch.prompts().size()));
    TensorVector gradients =
        torch.grad(new TensorVector(loss), new TensorVector(patterns.toArray(Tensor[]::new)));
    return new CleanPatterns(
        batch,
        input,
        streamNames.stream().map(name -> run.read(name).detach()).toList(),
        patterns.stream().map(Tensor::detach).toList(),
        IntStream.range(0, blocks).mapToObj(gradients::get).toList());
  }

  /**
   * Returns what a patched pattern does to each prompt's loss, to first order in the pattern.
   *
   * @param context patches inputs of this block's heads
   * @param rows that share the heads of the block
   * @param byPosition whether what each query's pattern does is told by itself
   * @return {@code [batch, queries * rows]} with the queries, {@code [batch, rows]} without; fp64
   */
  Tensor effects(int block, PatchContext context, int rows, boolean byPosition) {
    try (CallScope scope = new CallScope()) {
      Tensor patched =
          batch
              .model()
              .forward(
                  from(block, streams.get(block), input)
                      .withContext(context)
                      .withStartSourceOutputs(batch.clean().tensor())
                      .withGrad(false)
                      .withReads(patternName(block)))
              .read(patternName(block));
      ScalarTypeOptional wide = new ScalarTypeOptional(ScalarType.Double);
      Tensor ofQueries =
          patched
              .sub(patterns.get(block))
              .mul(gradients.get(block))
              .sum(new long[] {-1}, false, wide)
              .unflatten(1, rows, -1)
              .sum(2); // [batch, rows, queries]
      return scope.handOut(
          byPosition ? ofQueries.transpose(1, 2).flatten(1, 2) : ofQueries.sum(-1));
    }
  }

  private static ForwardRequest from(int block, Tensor stream, ModelInput input) {
    ForwardRequest request =
        ForwardRequest.startingAt(block, stream).withOutputSlice(OutputSlice.LAST_SEQ);
    return input.attentionMask().map(request::withAttentionMask).orElse(request);
  }

  private static List<String> names(int blocks, String hookName) {
    return IntStream.range(0, blocks).mapToObj(n -> "blocks." + n + "." + hookName).toList();
  }

  private static String patternName(int block) {
    return "blocks." + block + ".attn.hook_pattern";
  }
}
