package org.autocircuit.train;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.TrainingBatch;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.NativeMath;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.Use;
import org.bytedeco.pytorch.AdamW;
import org.bytedeco.pytorch.AdamWOptions;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.Reduction;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Trains the weights of a model in place to predict next tokens: AdamW (Loshchilov and Hutter,
 * 2019; LibTorch's, betas 0.9 and 0.999) on the gradients that the library's own forward pass
 * records, clipped to norm 1. Weight decay is for matrices only.
 *
 * <p>Whoever shares the weights sees them change, so nobody else should run the model meanwhile.
 * With the same weights, batches and number of threads on the same machine the steps come out the
 * same bit for bit, as far as LibTorch's kernels do.
 *
 * <p>Close it to free the optimiser's state and the weights' gradients; the model stays open. For
 * one thread.
 *
 * <pre>{@code
 * try (Trainer trainer = new Trainer(model, 0.01)) {
 *   double loss = trainer.step(batch, weights, 1e-3);
 * }
 * }</pre>
 */
public final class Trainer implements AutoCloseable {

  private static final double MAX_GRADIENT_NORM = 1;

  private final PatchableModel model;
  private final TensorVector parameters;
  private final List<AdamW> optimizers = new ArrayList<>();
  private boolean closed;

  /**
   * Makes the model's weights ask for gradients.
   *
   * @param model a transformer on the CPU
   * @param weightDecay share of a matrix, times the learning rate, that each step takes off it
   * @throws IllegalArgumentException if the model is on another device
   * @throws IllegalStateException if the model is closed
   */
  public Trainer(PatchableModel model, double weightDecay) {
    this.model = Objects.requireNonNull(model, "model");
    if (!model.device().equals("cpu")) {
      throw new IllegalArgumentException("device: expected cpu, got " + model.device());
    }
    try (Use use = model.use();
        CallScope scope = new CallScope()) {
      List<Tensor> weights = distinct(model.weights());
      weights.forEach(weight -> weight.set_requires_grad(true));
      parameters = scope.keep(vector(weights));
      for (boolean matrices : new boolean[] {true, false}) {
        List<Tensor> group =
            weights.stream().filter(weight -> weight.dim() > 1 == matrices).toList();
        optimizers.add(scope.keep(adamW(group, matrices ? weightDecay : 0)));
      }
    }
  }

  /**
   * One step on the weighted mean of the cross entropies of all positions that have a target.
   *
   * @param batch tokens and what follows each
   * @param weights {@code [batch][seq]}, how much each position counts; not all zero. Positions
   *     whose target is {@link TrainingBatch#IGNORED} must weigh 0.
   * @param learningRate of this step
   * @return the loss before the step
   * @throws IllegalStateException if the trainer or the model is closed
   * @throws org.autocircuit.exception.NotFiniteException if the loss is NaN or infinite; weights
   *     are as before
   */
  public double step(TrainingBatch batch, float[][] weights, double learningRate) {
    if (closed) {
      throw new IllegalStateException("Trainer of " + model + " is closed");
    }
    try (Use use = model.use();
        CallScope scope = new CallScope()) {
      Tensor loss = loss(batch, weights);
      double value = loss.item_double();
      if (!Double.isFinite(value)) {
        throw model.precision().notFinite("losses");
      }
      NativeMath.backward(loss);
      torch.clip_grad_norm_(parameters, MAX_GRADIENT_NORM);
      for (AdamW optimizer : optimizers) {
        optimizer.param_groups().get(0).options().set_lr(learningRate);
        optimizer.step();
        optimizer.zero_grad();
      }
      return value;
    }
  }

  private Tensor loss(TrainingBatch batch, float[][] weights) {
    Tensor logits =
        model
            .forward(
                ForwardRequest.of(TensorArrays.of(batch.tokens(), "tokens", "cpu"))
                    .withContext(PatchContext.NONE)
                    .withOutputSlice(OutputSlice.ALL)
                    .withGrad(true))
            .logits(); // [batch, seq, d_vocab]
    Tensor targets = TensorArrays.of(batch.targets(), "targets", "cpu");
    Tensor losses =
        torch.cross_entropy_loss(
            logits.flatten(0, 1),
            targets.flatten(),
            new TensorOptional(),
            Reduction.None.value,
            TrainingBatch.IGNORED,
            0); // [batch * seq]
    Tensor weight = flat(weights, targets, logits.scalar_type());
    return losses.mul(weight).sum().div(weight.sum());
  }

  private static Tensor flat(float[][] weights, Tensor like, ScalarType type) {
    int columns = Math.toIntExact(like.size(1));
    if (weights.length != like.size(0)) {
      throw new IllegalArgumentException(
          "weights: expected %s rows, got %s".formatted(like.size(0), weights.length));
    }
    float[] values = new float[weights.length * columns];
    for (int row = 0; row < weights.length; row++) {
      if (weights[row].length != columns) {
        throw new IllegalArgumentException(
            "weights: expected rows of %s values, got %s in row %s"
                .formatted(columns, weights[row].length, row));
      }
      System.arraycopy(weights[row], 0, values, row * columns, columns);
    }
    return TensorArrays.of(values, type, "cpu", values.length);
  }

  /** A tied embedding is one weight with two names. */
  private static List<Tensor> distinct(Map<String, Tensor> weights) {
    List<Tensor> distinct = new ArrayList<>();
    for (Tensor weight : weights.values()) {
      if (distinct.stream().noneMatch(weight::is_same)) {
        distinct.add(weight);
      }
    }
    return distinct;
  }

  private static TensorVector vector(Collection<Tensor> tensors) {
    return new TensorVector(tensors.toArray(Tensor[]::new));
  }

  private static AdamW adamW(List<Tensor> weights, double weightDecay) {
    AdamWOptions options = new AdamWOptions(1e-3);
    options.weight_decay().put(weightDecay);
    return new AdamW(vector(weights), options);
  }

  /** Frees the optimiser and the gradients. Does nothing the second time. */
  @Override
  public void close() {
    if (closed) {
      return;
    }
    closed = true;
    optimizers.forEach(AdamW::releaseReference);
    try (CallScope scope = CallScope.toFree()) {
      for (Tensor weight : parameters.get()) {
        weight.set_requires_grad(false);
        weight.mutable_grad().reset();
      }
    }
    parameters.releaseReference();
  }
}
