package org.autocircuit.prune;

import java.util.Arrays;
import java.util.Objects;
import java.util.OptionalInt;
import java.util.function.UnaryOperator;
import org.autocircuit.PatchableModel;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.exception.NotFiniteException;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.NativeResource;
import org.autocircuit.internal.Settings;
import org.autocircuit.internal.Stop;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.MaskParameters;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.PatchType;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.patch.Use;
import org.bytedeco.pytorch.Tensor;

/**
 * Trains the masks of edges by gradient descent (Cao et al. 2021, on edges); the training of the
 * Python original's {@code subnetwork_probing_prune_scores}, one step at a time. A step runs a
 * batch with masks sampled for each prompt, and goes down the gradient of
 *
 * <pre>faithfulness loss + lambda * (edges in the circuit) / (edges)</pre>
 *
 * with Adam. The number of edges in the circuit is the sum of a sample of the masks of its own (not
 * the expected one), with a size in mind only what it exceeds that.
 *
 * <pre>{@code
 * try (SourceActivations mean =
 *         model.sourceAblations(batches, AblationType.TOKENWISE_MEAN_CORRUPT);
 *     SubnetworkProbing probing = SubnetworkProbing.builder().begin(model, mean)) {
 *   for (int epoch = 0; epoch < 20; epoch++) {
 *     for (PromptPairBatch batch : batches) {
 *       System.out.println(probing.step(batch));
 *     }
 *   }
 *   PruneScores scores = probing.scores();
 * }
 * }</pre>
 *
 * <p>The faithfulness loss is a mean over the prompts of the batch (nats for the divergence), so
 * steps on batches of any size weigh both terms alike. A step is one on its batch, whatever its
 * size: where every prompt is to count the same in the training, batches have to be equally large
 * ({@code PromptBatches.Options.withDropPartial}).
 *
 * <p><b>Threads.</b> For the thread that made it, like the masks.
 *
 * <p><b>Ownership.</b> Close it to free the masks and the optimiser's state, from any thread. Model
 * and activations stay the caller's, and must live as long as it is used.
 */
public final class SubnetworkProbing implements AutoCloseable {

  /**
   * Holds what a step went down from.
   *
   * @param total faithfulness and regularisation, weighted
   * @param faithfulness the loss of the patched run
   * @param edges sampled number of edges in the circuit
   */
  public record Losses(double total, double faithfulness, double edges) {}

  private final PatchableModel model;
  private final ProbingLoss losses;
  private final Settings settings;
  private final long seed;
  private final MaskParameters masks;
  private final MaskAdam adam;
  private final FullModelTargets targets;
  private final NativeResource resource;
  private long steps;

  /** Takes masks and optimiser over. */
  private SubnetworkProbing(
      Builder builder, ProbingLoss losses, MaskParameters masks, MaskAdam adam) {
    model = losses.model();
    this.losses = losses;
    this.masks = masks;
    this.adam = adam;
    settings = builder.settings.copy();
    seed = builder.seed;
    FullModelTargets kept =
        new FullModelTargets(model, builder.faithfulnessTarget, builder.targetMemory);
    targets = kept;
    resource =
        new NativeResource(
            "SubnetworkProbing",
            () -> {
              kept.close();
              adam.close();
              masks.close();
            });
  }

  /**
   * Begins with hard-concrete masks, tree patching, divergence of distributions, learning rate 0.1,
   * lambda 10, masks at ln 5 toward the circuit being empty, and seed 0.
   */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * One step on the divergence of the patched model from the full one on the clean prompts, at the
   * model's output slice. As in the original the patched model runs on the clean prompts in tree
   * patching, and on the corrupt ones in edge patching. What the full model puts out is computed
   * when a batch comes for the first time, and kept for as many of the last batches as fit into
   * {@link Builder#targetMemory}, so the weights must stay as they are.
   *
   * @return losses before the step
   * @throws IllegalArgumentException if the batch does not fit the model or the activations
   * @throws IllegalStateException if this, the model or the activations are closed, or on another
   *     thread than the one that made this
   * @throws NotFiniteException if a logit, the loss or a gradient is NaN or infinite; masks and
   *     optimiser are as before, as in every step
   * @throws org.autocircuit.exception.StoppedException if it was stopped before it began;
   *     everything is as the step before left it
   */
  public Losses step(PromptPairBatch batch) {
    Stop.check();
    try (NativeResource.Use use = resource.use();
        Use ofModel = model.use();
        Use ofActivations = losses.activations().use();
        CallScope scope = new CallScope()) {
      ModelInput input = input(batch);
      return stepDown(input, targets.divergence(batch, input, scope));
    }
  }

  /**
   * One step on an answer loss, instead of the divergence.
   *
   * @throws IllegalArgumentException as {@link #step(ModelInput, UnaryOperator)}
   */
  public Losses step(PromptPairBatch batch, AnswerLoss loss) {
    try (CallScope scope = new CallScope()) {
      return step(input(batch), loss::loss);
    }
  }

  /**
   * One step on any loss.
   *
   * @param loss differentiable, from logits of the model's output slice, in the precision in which
   *     the model accumulates, to a tensor without dimensions. What it needs of the full model is
   *     best computed once
   * @throws IllegalArgumentException if something does not fit the model, or if the builder was
   *     given a faithfulness target or memory for targets, which this would ignore
   */
  public Losses step(ModelInput input, UnaryOperator<Tensor> loss) {
    requireNoTarget();
    return stepDown(input, loss);
  }

  private Losses stepDown(ModelInput input, UnaryOperator<Tensor> loss) {
    // Two draws of one step must not be the same.
    boolean samples = losses.maskFn() == MaskFn.HARD_CONCRETE;
    return stepDown(
        input,
        loss,
        samples || losses.dropout() > 0 ? Noise.seeded(seed, 2 * steps) : Noise.DEFAULT,
        samples ? Noise.seeded(seed, 2 * steps + 1) : Noise.DEFAULT);
  }

  /**
   * One step with noise of the caller's choice.
   *
   * @param forward of the masks of each prompt
   * @param count of the masks that are counted; uniforms are {@code [1, n_masks]}
   * @throws IllegalArgumentException if there is no sampling that would take the noise, or if the
   *     builder was given a seed, a faithfulness target or memory for targets, which this would
   *     ignore
   */
  public Losses step(ModelInput input, UnaryOperator<Tensor> loss, Noise forward, Noise count) {
    requireNoTarget();
    settings.refuse("the step brings noise of its own", "seed");
    return stepDown(input, loss, forward, count);
  }

  private void requireNoTarget() {
    settings.refuse("the step brings a loss of its own", "faithfulnessTarget", "targetMemory");
  }

  private Losses stepDown(
      ModelInput input, UnaryOperator<Tensor> loss, Noise forward, Noise count) {
    Stop.check();
    try (NativeResource.Use use = resource.use();
        Use ofModel = model.use();
        Use ofActivations = losses.activations().use();
        CallScope scope = new CallScope()) {
      Losses before = losses.backward(masks, input, loss, forward, count);
      adam.step();
      masks.zeroGrad();
      steps++;
      return before;
    }
  }

  /** Memory of the targets that are kept. */
  long targetBytes() {
    return targets.bytes();
  }

  private ModelInput input(PromptPairBatch batch) {
    boolean tree = losses.patchType() == PatchType.TREE_PATCH;
    return ModelInput.ofPrompts(tree ? batch.clean() : batch.corrupt(), model.device());
  }

  /** Number of steps done. */
  public long steps() {
    return steps;
  }

  /** A copy of the masks, as they are before the mask function. */
  public Masks masks() {
    return Masks.copyOf(masks);
  }

  /**
   * Returns mask values, with the opposite sign for tree patching, shifted as in the original so
   * that the smallest score is 0.
   */
  public PruneScores scores() {
    double sign = losses.patchType() == PatchType.TREE_PATCH ? -1 : 1;
    double[] values = Arrays.stream(masks.toArray()).map(value -> sign * value).toArray();
    double least = Arrays.stream(values).min().orElse(0);
    return PruneScores.wrap(
        model.graph(), Arrays.stream(values).map(value -> value - least).toArray());
  }

  /** Gives the memory back. Does nothing the second time. */
  @Override
  public void close() {
    resource.close();
  }

  /** Collects settings. Not safe for use by several threads. */
  public static final class Builder {

    private MaskFn maskFn = MaskFn.HARD_CONCRETE;
    private PatchType patchType = PatchType.TREE_PATCH;
    private FaithfulnessTarget faithfulnessTarget = FaithfulnessTarget.KL_DIV;
    private double learningRate = 0.1;
    private double regularizeLambda = 10;
    private OptionalInt circuitSize = OptionalInt.empty();
    private double initialValue = Math.log(5); // 1.2 sigmoid(ln 5) - 0.1 = 0.9
    private double dropout;
    private long seed;
    private long targetMemory = 256L << 20;
    private final Settings settings = new Settings();

    private Builder() {}

    /** Sets what is applied to the masks. */
    public Builder maskFn(MaskFn value) {
      maskFn = Objects.requireNonNull(value, "maskFn");
      return this;
    }

    /**
     * Sets which edges are patched: all but the circuit's, or the circuit's. The original's {@code
     * tree_optimisation} is {@link PatchType#TREE_PATCH}.
     */
    public Builder patchType(PatchType value) {
      patchType = Objects.requireNonNull(value, "patchType");
      return this;
    }

    /** Sets how outputs are compared with the full model's where no other loss is given. */
    public Builder faithfulnessTarget(FaithfulnessTarget value) {
      faithfulnessTarget = Objects.requireNonNull(value, "faithfulnessTarget");
      settings.made("faithfulnessTarget");
      return this;
    }

    /**
     * Sets the learning rate of Adam.
     *
     * @throws IllegalArgumentException if it is not a positive number
     */
    public Builder learningRate(double value) {
      if (!(value > 0 && value < Double.POSITIVE_INFINITY)) {
        throw new IllegalArgumentException(
            "learningRate: expected a positive number, got " + value);
      }
      learningRate = value;
      return this;
    }

    /**
     * Sets how much the size of the circuit counts.
     *
     * @throws IllegalArgumentException if it is negative or not a number
     */
    public Builder regularizeLambda(double value) {
      if (!(value >= 0 && value < Double.POSITIVE_INFINITY)) {
        throw new IllegalArgumentException("regularizeLambda: expected 0 or more, got " + value);
      }
      regularizeLambda = value;
      return this;
    }

    /**
     * Lets circuits of up to a number of edges cost nothing.
     *
     * @throws IllegalArgumentException if it is negative
     */
    public Builder circuitSize(int value) {
      if (value < 0) {
        throw new IllegalArgumentException("circuitSize: expected 0 or more, got " + value);
      }
      circuitSize = OptionalInt.of(value);
      return this;
    }

    /**
     * Sets what all masks begin with, in tree patching; in edge patching its negative.
     *
     * @throws IllegalArgumentException if it is not finite
     */
    public Builder initialValue(double value) {
      if (!Double.isFinite(value)) {
        throw new IllegalArgumentException("initialValue: expected a number, got " + value);
      }
      initialValue = value;
      return this;
    }

    /** Sets the probability of dropping a mask value; see {@link PatchContext.Builder#dropout}. */
    public Builder dropout(double value) {
      if (!(value >= 0 && value < 1)) {
        throw new IllegalArgumentException("dropout: expected a value in [0, 1), got " + value);
      }
      dropout = value;
      return this;
    }

    /** Sets what the samples follow from. */
    public Builder seed(long value) {
      seed = value;
      settings.made("seed");
      return this;
    }

    /**
     * Limits the bytes of the full model's outputs that are kept between steps, {@code [batch,
     * (positions), d_vocab]} for each batch; 256 MiB at first. Those that do not fit are computed
     * again each time, which costs a plain pass.
     *
     * @throws IllegalArgumentException if it is negative
     */
    public Builder targetMemory(long bytes) {
      if (bytes < 0) {
        throw new IllegalArgumentException("targetMemory: expected 0 or more, got " + bytes);
      }
      targetMemory = bytes;
      settings.made("targetMemory");
      return this;
    }

    /**
     * Makes the masks and the optimiser, with the settings as they are now.
     *
     * @param activations what edges are patched with, in the original the mean of the corrupt
     *     prompts at each position; {@linkplain SourceActivations#trim trimmed}
     * @throws IllegalArgumentException if a seed is set where neither mask function nor dropout
     *     takes samples
     * @throws IllegalStateException if the model or the activations are closed
     */
    public SubnetworkProbing begin(PatchableModel model, SourceActivations activations) {
      if (maskFn != MaskFn.HARD_CONCRETE && dropout == 0) {
        settings.refuse(
            "the mask function " + maskFn + " without dropout takes no samples", "seed");
      }
      Objects.requireNonNull(activations, "activations").trim();
      ProbingLoss losses =
          new ProbingLoss(
              model, activations, maskFn, patchType, dropout, regularizeLambda, circuitSize);
      MaskParameters masks = model.newMaskParameters();
      try {
        masks.setAll(patchType == PatchType.TREE_PATCH ? initialValue : -initialValue);
        return new SubnetworkProbing(this, losses, masks, new MaskAdam(masks, learningRate));
      } catch (RuntimeException | Error e) {
        masks.close();
        throw e;
      }
    }
  }
}
