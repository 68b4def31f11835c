package org.autocircuit.prune;

import java.util.OptionalInt;
import java.util.function.UnaryOperator;
import org.autocircuit.PatchableModel;
import org.autocircuit.exception.NotFiniteException;
import org.autocircuit.internal.NativeMath;
import org.autocircuit.mode.TrainMaskMode;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.MaskParameters;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.PatchType;
import org.autocircuit.patch.PatchWrapper;
import org.autocircuit.patch.PatchWrapper.Mask;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * Holds what {@link MaskTraining} goes down, as a function of masks: how far a patched run is from
 * what it should be, and how many edges its circuit has.
 *
 * @param dropout probability of dropping a mask value
 * @param lambda what all edges of the graph weigh against the loss of the run
 * @param circuitSize number of edges that cost nothing
 */
record ProbingLoss(
    PatchableModel model,
    MaskFn maskFn,
    PatchType patchType,
    double dropout,
    double lambda,
    OptionalInt circuitSize) {

  /**
   * Runs the model, and leaves the gradient in the masks.
   *
   * @param activations what edges are patched with
   * @param loss of logits in the precision in which the model accumulates
   * @param forward noise of the run
   * @param count noise of the masks that are counted
   * @throws NotFiniteException if something is NaN or infinite; the masks have no gradients then
   */
  MaskTraining.Losses backward(
      MaskParameters masks,
      ModelInput input,
      SourceActivations activations,
      UnaryOperator<Tensor> loss,
      Noise forward,
      Noise count) {
    PatchContext context =
        PatchContext.builder(activations, masks)
            .maskFn(maskFn)
            .dropout(dropout)
            .noise(forward)
            .build();
    try (TrainMaskMode training = model.trainMaskMode(masks)) {
      Tensor logits = model.forward(ForwardRequest.of(input).withContext(context)).logits();
      Tensor faithfulness = loss.apply(logits.to(model.precision().accumulation().scalarType()));
      Tensor edges = edges(masks, count);
      Tensor excess =
          circuitSize.isPresent() ? edges.sub(new Scalar(circuitSize.getAsInt())).relu() : edges;
      double weight = lambda / model.graph().nEdges();
      Tensor total = faithfulness.add(excess.mul(new Scalar(weight)));
      MaskTraining.Losses losses =
          new MaskTraining.Losses(
              total.item_double(), faithfulness.item_double(), edges.item_double());
      if (!Double.isFinite(losses.total())) {
        model.precision().requireFinite("logits", logits);
        throw model.precision().notFinite("losses");
      }
      NativeMath.backward(total);
      requireFiniteGradients(masks);
      return losses;
    }
  }

  /** A step with them would leave no mask that is a number. */
  private void requireFiniteGradients(MaskParameters masks) {
    try {
      model.precision().requireFinite("gradients of masks", masks.gradients());
    } catch (NotFiniteException e) {
      masks.zeroGrad();
      throw e;
    }
  }

  /** A sample of how many edges are in the circuit: those patched, or those not. */
  private Tensor edges(MaskParameters masks, Noise noise) {
    Tensor patched =
        PatchWrapper.applyMaskFn(
                Mask.of(masks.tensor(), false, false).withMaskFn(maskFn).withNoise(noise), 1)
            .sum();
    return patchType == PatchType.TREE_PATCH
        ? patched.neg().add(new Scalar(model.graph().nEdges()))
        : patched;
  }
}
