package org.autocircuit.benchmark;

import java.util.Random;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.model.Model;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.pass.PlanPolicy;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** A model with bf16 weights, for rows beside those of the same model with fp32 weights. */
final class SixteenBits implements AutoCloseable {

  private final Model model;
  private final PatchableModel patchable;
  private final Tensor clean;
  private final SourceActivations activations;
  private final PatchContext dense;

  /** The prompts stay the caller's. */
  SixteenBits(BenchmarkSize size, Tensor clean, Tensor corrupt, Random random) {
    model = RandomWeights.model(size.config(), 1, ScalarType.BFloat16);
    patchable = PatchableModel.of(model, PatchableModelOptions.defaults());
    this.clean = clean;
    activations = patchable.sourceAblations(corrupt, BatchAblation.RESAMPLE);
    double[] values = random.doubles(patchable.graph().maskSize()).toArray();
    dense = PatchContext.of(activations, Masks.of(patchable.graph(), values));
  }

  Object plainForward() {
    try (PointerScope scope = new PointerScope()) {
      ForwardRequest request =
          ForwardRequest.of(clean).withPlanPolicy(PlanPolicy.REFERENCE).withGrad(false);
      return patchable.forward(request).logits().numel();
    }
  }

  Object densePatchedForward() {
    try (PointerScope scope = new PointerScope()) {
      return patchable
          .forward(
              ForwardRequest.of(clean).withContext(dense).withOutputSlice(OutputSlice.LAST_SEQ))
          .logits()
          .numel();
    }
  }

  @Override
  public void close() {
    activations.close();
    patchable.close();
    model.close();
  }
}
