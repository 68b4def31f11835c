package org.autocircuit.prune;

import java.util.Collection;
import java.util.List;
import java.util.OptionalInt;
import java.util.function.UnaryOperator;
import org.autocircuit.PatchableModel;
import org.autocircuit.exception.NotFiniteException;
import org.autocircuit.graph.Edge;
import org.autocircuit.internal.Access;
import org.autocircuit.internal.NativeMaskTraining;
import org.autocircuit.internal.NativeMath;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.internal.run.Passes;
import org.autocircuit.internal.run.TrainingPasses;
import org.autocircuit.internal.run.TrainingPasses.Constraint;
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
 * @param avoided edges that cost more
 */
record ProbingLoss(
    PatchableModel model,
    MaskFn maskFn,
    PatchType patchType,
    double dropout,
    double lambda,
    OptionalInt circuitSize,
    Avoided avoided) {

  /**
   * Edges that should not be in the circuit.
   *
   * @param edges none if there are no such edges
   * @param lambda what all of them weigh against all edges of the graph
   */
  record Avoided(Collection<Edge> edges, double lambda) {}

  /** A hard-concrete sample is above 0 with the probability sigmoid(mask - this). */
  private static final double OFF = 2 / 3.0 * Math.log(0.1 / 1.1);

  private static final Access.OfPatchableModel<PatchableModel, Passes> PASSES =
      Access.patchableModel(PatchableModel.class, Passes.class);

  /**
   * Makes a step of the optimiser down the divergence from the full model, in one native call that
   * knows nothing of edges to avoid.
   *
   * @param sparsities what the shares of edges, and of nodes, out of the circuit cost, in place of
   *     lambda; none: lambda
   * @param fullModel what the full model puts out, as the comparison needs it
   * @throws NotFiniteException if something is NaN or infinite; the masks are as before
   */
  MaskTraining.Losses step(
      NativeMaskTraining optimiser,
      MaskParameters masks,
      ModelInput input,
      SourceActivations activations,
      FaithfulnessTarget target,
      Tensor fullModel,
      Noise forward,
      Noise.Seeded count,
      List<Constraint> sparsities) {
    double[] losses =
        PASSES
            .passes(model)
            .trainings()
            .step(
                optimiser,
                input,
                context(activations, masks, forward),
                new TrainingPasses.Goal(
                    target,
                    fullModel,
                    count,
                    patchType == PatchType.EDGE_PATCH,
                    circuitSize,
                    sparsities.isEmpty() ? lambda / costly() : 0,
                    sparsities));
    switch ((int) losses[3]) {
      case 0 -> {}
      case 1 -> throw model.precision().notFinite("logits");
      case 2 -> throw model.precision().notFinite("losses");
      default -> throw model.precision().notFinite("gradients of masks");
    }
    return new MaskTraining.Losses(losses[0], losses[1], losses[2], losses[4]);
  }

  /** Number of edges whose cost is lambda; as in the original those of the circuit in mind. */
  private int costly() {
    int size = circuitSize.orElse(0);
    return size > 0 ? size : model.graph().nEdges();
  }

  private PatchContext context(SourceActivations activations, MaskParameters masks, Noise noise) {
    return PatchContext.builder(activations, masks)
        .maskFn(maskFn)
        .dropout(dropout)
        .noise(noise)
        .build();
  }

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
    PatchContext context = context(activations, masks, forward);
    try (TrainMaskMode training = model.trainMaskMode(masks)) {
      Tensor logits = model.forward(ForwardRequest.of(input).withContext(context)).logits();
      Tensor faithfulness = loss.apply(logits.to(model.precision().accumulation().scalarType()));
      Tensor edges = edges(masks, count);
      Tensor excess =
          circuitSize.isPresent() ? edges.sub(new Scalar(circuitSize.getAsInt())).relu() : edges;
      Tensor total = faithfulness.add(excess.mul(new Scalar(lambda / costly())));
      if (!avoided.edges().isEmpty()) {
        total = total.add(avoidedInCircuit(masks).mul(new Scalar(lambda * avoided.lambda())));
      }
      MaskTraining.Losses losses =
          new MaskTraining.Losses(
              total.item_double(), faithfulness.item_double(), edges.item_double(), 0);
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

  /**
   * The share of the edges to avoid that is in the circuit, up to a constant: the mean of
   * probabilities, or of masks where they are no function's argument.
   */
  private Tensor avoidedInCircuit(MaskParameters masks) {
    long[] indices = avoided.edges().stream().mapToLong(model.graph()::index).toArray();
    Tensor values =
        masks.tensor().index_select(0, TensorArrays.of(indices, model.device(), indices.length));
    Tensor patched =
        switch (maskFn) {
          case NONE -> values;
          case SIGMOID -> values.sigmoid();
          case HARD_CONCRETE -> values.sub(new Scalar(OFF)).sigmoid();
        };
    return patchType == PatchType.TREE_PATCH ? patched.mean().neg() : patched.mean();
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
