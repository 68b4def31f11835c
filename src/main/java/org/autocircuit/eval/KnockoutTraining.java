package org.autocircuit.eval;

import java.util.Arrays;
import java.util.BitSet;
import java.util.Collection;
import java.util.Objects;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.NativeMaskTraining;
import org.autocircuit.internal.NativeMath;
import org.autocircuit.internal.Numbers;
import org.autocircuit.internal.Stop;
import org.autocircuit.mode.TrainMaskMode;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.MaskParameters;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.PatchWrapper;
import org.autocircuit.patch.PatchWrapper.Mask;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.patch.Use;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/**
 * Looks for the knockouts under which a circuit does least what the full model does: what {@link
 * SameUnderKnockouts} should be measured with to say that a circuit is complete, since knockouts at
 * random rarely find what it lacks. The counterpart of the Python original's {@code
 * train_same_under_knockout_prune_scores}, in which a fifth of the circuit's edges are knocked out
 * for nothing, and model and circuit have samples of their own; Wang et al. 2022 (2211.00593,
 * section 4) search greedily.
 *
 * <p>Each edge of the circuit has a hard-concrete mask of being knocked out. A step runs a batch of
 * clean prompts through the model and through the circuit, both with the same sample of knockouts,
 * and goes up the gradient of
 *
 * <pre>KL(model ‖ circuit) - lambda * (edges knocked out) / (edges of the circuit)</pre>
 *
 * with Adam. What is above one half at the end is knocked out. A local search: other seeds can find
 * other knockouts.
 *
 * <p>Immutable; safe to share between threads.
 */
public final class KnockoutTraining {

  /** So far from 0, a sample is exactly 0 or 1. */
  private static final double ALWAYS = 50;

  private final int epochs;
  private final double learningRate;
  private final double regularizeLambda;
  private final long seed;

  private KnockoutTraining(Builder builder) {
    epochs = builder.epochs;
    learningRate = builder.learningRate;
    regularizeLambda = builder.regularizeLambda;
    seed = builder.seed;
  }

  /** Begins with 100 epochs, learning rate 0.1, lambda 0.1 and seed 0. */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * Looks for knockouts.
   *
   * @param model its masks are not touched
   * @param batches at least one
   * @param progress is told of each step: epochs times batches
   * @return edges of the circuit
   * @throws IllegalArgumentException if there is no batch, or one does not fit the model, or the
   *     circuit is of another graph
   * @throws org.autocircuit.exception.NotFiniteException if a logit is NaN or infinite
   * @throws org.autocircuit.exception.StoppedException if it was stopped
   */
  public EdgeSet knockouts(
      PatchableModel model,
      Collection<? extends PromptPairBatch> batches,
      EdgeSet circuit,
      Progress progress) {
    Objects.requireNonNull(progress, "progress");
    if (batches.isEmpty()) {
      throw new IllegalArgumentException("batches: expected at least one, got none");
    }
    if (!circuit.graph().equals(model.graph())) {
      throw new IllegalArgumentException(
          "circuit: expected edges of the %s, got those of the %s"
              .formatted(model.graph(), circuit.graph()));
    }
    try (Use use = model.use();
        Training training = new Training(model, circuit)) {
      long steps = (long) epochs * batches.size();
      for (long step = 0; step < steps; ) {
        for (PromptPairBatch batch : batches) {
          Stop.check();
          training.step(batch, step++);
          progress.report(step, steps);
        }
      }
      return training.knockouts();
    }
  }

  /** Masks of what is knocked out in the model, and in the circuit, which lacks all others. */
  private final class Training implements AutoCloseable {

    private final PatchableModel model;
    private final BitSet circuit = new BitSet();
    private final MaskParameters inModel;
    private final MaskParameters inCircuit;
    private final NativeMaskTraining optimiser;

    Training(PatchableModel model, EdgeSet circuit) {
      this.model = model;
      circuit.indices().forEach(this.circuit::set);
      inModel = model.newMaskParameters();
      inCircuit = model.newMaskParameters();
      double[] masks = new double[model.graph().nEdges()];
      Arrays.setAll(masks, i -> this.circuit.get(i) ? 0 : -ALWAYS);
      inModel.set(masks);
      try (CallScope scope = new CallScope()) {
        optimiser = new NativeMaskTraining(inModel.tensor(), null, learningRate);
      }
    }

    /** One step, with the same noise in model and circuit. */
    void step(PromptPairBatch batch, long step) {
      inCircuit.set(masks(ALWAYS));
      try (CallScope scope = new CallScope();
          SourceActivations corrupt =
              model.sourceAblations(batch.corrupt(), BatchAblation.RESAMPLE);
          TrainMaskMode ofModel = model.trainMaskMode(inModel);
          TrainMaskMode ofCircuit = model.trainMaskMode(inCircuit)) {
        ModelInput clean = ModelInput.ofPrompts(batch.clean(), model.device());
        Noise noise = new Noise.Seeded(seed, 2 * step);
        Tensor full = logProbabilities(clean, corrupt, inModel, noise);
        Tensor patched = logProbabilities(clean, corrupt, inCircuit, noise);
        Tensor divergence = full.exp().mul(full.sub(patched)).sum(-1).mean();
        Tensor knockedOut =
            PatchWrapper.applyMaskFn(
                    Mask.of(inModel.tensor(), false, false)
                        .withMaskFn(MaskFn.HARD_CONCRETE)
                        .withNoise(new Noise.Seeded(seed, 2 * step + 1)),
                    1)
                .sum();
        double weight = regularizeLambda / Math.max(1, circuit.cardinality());
        NativeMath.backward(knockedOut.mul(new Scalar(weight)).sub(divergence));
        Tensor gradient = inModel.gradients().add(inCircuit.gradients());
        optimiser.stepAlong(gradient);
        inModel.zeroGrad();
        inCircuit.zeroGrad();
      }
      inModel.set(masks(-ALWAYS));
    }

    private Tensor logProbabilities(
        ModelInput clean, SourceActivations corrupt, MaskParameters masks, Noise noise) {
      PatchContext context =
          PatchContext.builder(corrupt, masks).maskFn(MaskFn.HARD_CONCRETE).noise(noise).build();
      Tensor logits = model.forward(ForwardRequest.of(clean).withContext(context)).logits();
      model.precision().requireFinite("logits", logits);
      return torch.log_softmax(logits.to(model.precision().accumulation().scalarType()), -1);
    }

    /** The masks of the circuit's edges, and one value for all others. */
    private double[] masks(double outside) {
      double[] masks = inModel.toArray();
      Arrays.setAll(masks, i -> circuit.get(i) ? masks[i] : outside);
      return masks;
    }

    EdgeSet knockouts() {
      double[] masks = inModel.toArray();
      BitSet out = new BitSet();
      circuit.stream().filter(i -> masks[i] > 0).forEach(out::set);
      return EdgeSet.ofIndices(model.graph(), out);
    }

    @Override
    public void close() {
      optimiser.close();
      inModel.close();
      inCircuit.close();
    }
  }

  /** Collects settings. Not safe for use by several threads. */
  public static final class Builder {

    private int epochs = 100;
    private double learningRate = 0.1;
    private double regularizeLambda = 0.1;
    private long seed;

    private Builder() {}

    /**
     * Sets how often each batch is visited.
     *
     * @throws IllegalArgumentException if it is less than 1
     */
    public Builder epochs(int value) {
      epochs = Numbers.atLeast(1, "epochs", value);
      return this;
    }

    /**
     * Sets the learning rate of Adam.
     *
     * @throws IllegalArgumentException if it is not a positive number
     */
    public Builder learningRate(double value) {
      learningRate = Numbers.positive("learningRate", value);
      return this;
    }

    /**
     * Sets what knocking all of the circuit out costs, in nats.
     *
     * @throws IllegalArgumentException if it is negative or not a number
     */
    public Builder regularizeLambda(double value) {
      regularizeLambda = Numbers.notNegative("regularizeLambda", value);
      return this;
    }

    /** Sets what the samples follow from. */
    public Builder seed(long value) {
      seed = value;
      return this;
    }

    /** Makes the training. */
    public KnockoutTraining build() {
      return new KnockoutTraining(this);
    }
  }
}
