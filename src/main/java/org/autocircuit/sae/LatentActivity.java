package org.autocircuit.sae;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.Stop;
import org.autocircuit.internal.run.Passes;
import org.autocircuit.model.AutoencoderConfig;
import org.autocircuit.model.Model;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ForwardResult;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.patch.PatchContext;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Sums of latents' values over a data set, in double precision. */
final class LatentActivity implements AutoCloseable {

  private final Map<Integer, String> hookNames = new LinkedHashMap<>();
  private final Map<Integer, Tensor> sums = new LinkedHashMap<>();
  private final Passes passes;
  private final String device;
  private final boolean perPosition;

  /**
   * Of the latents of all blocks.
   *
   * @param perPosition whether each token position has sums of its own
   */
  LatentActivity(Model model, TransformerConfig config, boolean perPosition) {
    for (int block : config.autoencoders().orElseThrow().latents().keySet()) {
      hookNames.put(block, AutoencoderConfig.hookName(block) + ".latents");
    }
    // A graph without a node for each latent: there may be very many before pruning.
    TransformerConfig plain = config.toBuilder().withoutAutoencoders().build();
    passes =
        new Passes(
            "LatentActivity of " + model,
            model,
            ModelGraph.of(plain, true, false),
            OutputSlice.LAST_SEQ,
            Optional.empty());
    device = model.device();
    this.perPosition = perPosition;
  }

  /** Runs prompts and adds what they activate. */
  void add(long[][] tokens) {
    Stop.check();
    try (CallScope scope = new CallScope()) {
      ModelInput input = ModelInput.ofPrompts(tokens, device);
      ForwardRequest request =
          ForwardRequest.of(input).withReads(hookNames.values()).withGrad(false);
      ForwardResult result = passes.forward(request, PatchContext.NONE);
      long[] summed = perPosition ? new long[] {0} : new long[] {0, 1};
      hookNames.forEach(
          (block, name) ->
              add(
                  block,
                  ofTokens(result.read(name), input) // [batch, seq, latents]
                      .sum(summed, false, new ScalarTypeOptional(ScalarType.Double))));
    }
  }

  /** Latents without those at padding. */
  private static Tensor ofTokens(Tensor latents, ModelInput input) {
    return input.attentionMask().map(mask -> latents.mul(mask.unsqueeze(-1))).orElse(latents);
  }

  private void add(int block, Tensor sum) {
    Tensor before = sums.get(block);
    if (before == null) {
      sum.retainReference();
      sums.put(block, sum);
    } else if (before.size(0) == sum.size(0)) {
      before.add_(sum);
    } else {
      throw new IllegalArgumentException(
          "batches: expected prompts of %s tokens as in the first batch, got %s"
              .formatted(before.size(0), sum.size(0)));
    }
  }

  /** Block to sums {@code [latents]} or {@code [seq, latents]}, valid until this is closed. */
  Map<Integer, Tensor> sums() {
    if (sums.isEmpty()) {
      throw new IllegalArgumentException("batches: expected at least one, got none");
    }
    return sums;
  }

  @Override
  public void close() {
    sums.values().forEach(Tensor::releaseReference);
    passes.close();
  }
}
