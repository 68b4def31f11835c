package org.autocircuit.prune;

import java.util.Collection;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.graph.Edge;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.NativeMaskTraining;
import org.autocircuit.internal.Numbers;
import org.autocircuit.internal.Settings;
import org.autocircuit.pass.Checkpoint;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.MaskParameters;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.PatchType;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.patch.Use;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * Scores edges by masks that are trained by gradient descent (Cao et al. 2021, on edges); the
 * counterpart of the Python original's {@code subnetwork_probing_prune_scores}. A step runs a batch
 * with masks sampled for each prompt, and goes down the gradient of
 *
 * <pre>faithfulness loss + lambda * (edges in the circuit) / (edges)</pre>
 *
 * with Adam. The number of edges in the circuit is the sum of a sample of the masks of its own (not
 * the expected one); with a size in mind it is what it exceeds that, divided by it. A score is a
 * mask at the end, seen from the least one.
 *
 * <p>Masks begin near the empty circuit, where an edge that works only together with others gains
 * nothing alone. Where lambda / (edges) is more than the first gradients, all go out, though the
 * circuit would be worth its price: {@link MaskTraining.Losses#edges} goes to 0, and scores say
 * little. Then set a smaller {@linkplain Builder#regularizeLambda lambda}, or begin with the full
 * model ({@link Builder#initialValue} of minus the default).
 *
 * <p>The faithfulness loss is a mean over the prompts of the batch (nats for the divergence), so
 * steps on batches of any size weigh both terms alike. A step is one on its batch, whatever its
 * size: where every prompt is to count the same in the training, batches have to be equally large
 * ({@code PromptBatches.Options.withDropPartial}).
 *
 * <p>{@link #begin} gives the training itself, step by step, on other losses and activations.
 *
 * <p>Immutable; safe to share between threads.
 */
public final class SubnetworkProbing implements ResumableAlgorithm {

  private final MaskFn maskFn;
  private final PatchType patchType;
  private final FaithfulnessTarget faithfulnessTarget;
  private final double learningRate;
  private final double regularizeLambda;
  private final OptionalInt circuitSize;
  private final double initialValue;
  private final double dropout;
  private final int epochs;
  private final Ablation ablation;
  private final long seed;
  private final long targetMemory;
  private final boolean answerShares;
  private final ProbingLoss.Avoided avoided;
  private final Settings settings;

  private SubnetworkProbing(Builder builder) {
    maskFn = builder.maskFn;
    patchType = builder.patchType;
    faithfulnessTarget = builder.faithfulnessTarget;
    learningRate = builder.learningRate;
    regularizeLambda = builder.regularizeLambda;
    circuitSize = builder.circuitSize;
    initialValue = builder.initialValue;
    dropout = builder.dropout;
    epochs = builder.epochs;
    ablation = builder.ablation;
    seed = builder.seed;
    targetMemory = builder.targetMemory;
    answerShares = builder.answerShares;
    avoided = new ProbingLoss.Avoided(builder.avoidEdges, builder.avoidLambda);
    settings = builder.settings.copy();
  }

  /**
   * Begins with hard-concrete masks, tree patching, divergence of distributions, learning rate 0.1,
   * lambda 10, masks at ln 5 toward the circuit being empty, the mean of the corrupt prompts at
   * each position, 20 epochs, and seed 0.
   */
  public static Builder builder() {
    return new Builder();
  }

  @Override
  public String name() {
    return "subnetwork probing";
  }

  /** Returns that of masks before their function, which learning rate and number of steps scale. */
  @Override
  public String unit() {
    return "mask parameters";
  }

  @Override
  public ScoreSign sign() {
    return ScoreSign.UNSIGNED;
  }

  /**
   * Trains masks for all epochs, each a step on every batch in the order given, and returns {@link
   * MaskTraining#scores}.
   *
   * @param model its masks are not touched
   * @param batches at least one
   * @param progress is told of each step: epochs times batches
   * @param checkpoint is told of each step
   * @throws IllegalArgumentException if there is no batch, or one does not fit the model
   * @throws IllegalStateException if the model is closed
   * @throws org.autocircuit.exception.NotFiniteException if a logit, a loss or a gradient is NaN or
   *     infinite
   * @throws StoppedException if it was stopped; has the {@code PruneScores} that the steps before
   *     led to
   */
  @Override
  public PruneScores pruneScores(
      PatchableModel model,
      Collection<? extends PromptPairBatch> batches,
      Progress progress,
      Checkpoint checkpoint) {
    Objects.requireNonNull(progress, "progress");
    PatchedBatches.requireSome(batches);
    CleanCorrupt patchInput =
        patchType == PatchType.TREE_PATCH ? CleanCorrupt.CORRUPT : CleanCorrupt.CLEAN;
    try (Use use = model.use();
        MaskTraining training = training(model, null, /* nodes= */ false)) {
      return new Epochs(model, batches, epochs, ablation, patchInput, progress, checkpoint)
          .train(training, Epochs.NOTHING, training::step);
    }
  }

  /**
   * Begins a training whose steps the caller makes.
   *
   * @param activations what edges are patched with, in the original the mean of the corrupt prompts
   *     at each position; {@linkplain SourceActivations#trim trimmed}
   * @return to be closed by the caller
   * @throws IllegalArgumentException if epochs or an ablation type were set, which this would
   *     ignore
   * @throws IllegalStateException if the model or the activations are closed
   */
  public MaskTraining begin(PatchableModel model, SourceActivations activations) {
    settings.refuse("the caller makes the steps", "epochs");
    settings.refuse("the call brings the activations", "ablation");
    Objects.requireNonNull(activations, "activations").trim();
    return training(model, activations, /* nodes= */ false);
  }

  /**
   * Begins a training.
   *
   * @param activations {@code null} if each step brings its own
   * @param nodes whether nodes have masks of their own
   */
  MaskTraining training(PatchableModel model, SourceActivations activations, boolean nodes) {
    MaskParameters masks = model.newMaskParameters();
    try (CallScope scope = new CallScope()) {
      double first = patchType == PatchType.TREE_PATCH ? initialValue : -initialValue;
      masks.setAll(first);
      Optional<Tensor> nodeMasks =
          nodes
              ? Optional.of(
                  masks
                      .tensor()
                      .new_full(new long[] {model.graph().srcs().size()}, new Scalar(first)))
              : Optional.empty();
      return new MaskTraining(
          new ProbingLoss(
              model, maskFn, patchType, dropout, regularizeLambda, circuitSize, avoided),
          activations,
          new FullModelTargets(model, faithfulnessTarget, answerShares, targetMemory),
          masks,
          nodeMasks.map(scope::keep),
          new NativeMaskTraining(masks.tensor(), nodeMasks.orElse(null), learningRate),
          seed,
          settings);
    } catch (RuntimeException | Error e) {
      masks.close();
      throw e;
    }
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
    private int epochs = 20;
    private Ablation ablation = DatasetAblation.TOKENWISE_MEAN_CORRUPT;
    private long seed;
    private long targetMemory = 256L << 20;
    private boolean answerShares;
    private Set<Edge> avoidEdges = Set.of();
    private double avoidLambda = 1;
    final Settings settings = new Settings();

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
     * Compares each prompt's difference of right and wrong answers with the full model's, in place
     * of all outputs: the loss is how far it is from 100 per cent of that. The original's {@code
     * logit_diff_percent}, for models that put out the last position. A step takes several native
     * calls.
     */
    public Builder answerShares() {
      answerShares = true;
      settings.made("answerShares");
      return this;
    }

    /**
     * Lets some edges cost more: lambda times {@link #avoidLambda} for all of them, less for those
     * whose masks keep them out of the circuit. A step takes several native calls.
     */
    public Builder avoidEdges(Collection<Edge> edges) {
      avoidEdges = Set.copyOf(edges);
      return this;
    }

    /**
     * Sets what edges to avoid cost in addition, in units of lambda; 1 at first.
     *
     * @throws IllegalArgumentException if it is negative or not a number
     */
    public Builder avoidLambda(double value) {
      avoidLambda = Numbers.notNegative("avoidLambda", value);
      settings.made("avoidLambda");
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
     * Sets how much the size of the circuit counts.
     *
     * @throws IllegalArgumentException if it is negative or not a number
     */
    public Builder regularizeLambda(double value) {
      regularizeLambda = Numbers.notNegative("regularizeLambda", value);
      return this;
    }

    /**
     * Lets circuits of up to a number of edges cost nothing, and each further edge lambda divided
     * by that number.
     *
     * @throws IllegalArgumentException if it is negative
     */
    public Builder circuitSize(int value) {
      circuitSize = OptionalInt.of(Numbers.atLeast(0, "circuitSize", value));
      settings.made("circuitSize");
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

    /**
     * Sets how often each batch is visited.
     *
     * @throws IllegalArgumentException if it is less than 1
     */
    public Builder epochs(int value) {
      epochs = Numbers.atLeast(1, "epochs", value);
      settings.made("epochs");
      return this;
    }

    /**
     * Sets what edges are patched with. Ablations of single batches are those of the prompts that
     * the patched model does not run on, and are computed again in each epoch: corrupt ones in tree
     * patching, clean ones in edge patching.
     */
    public Builder ablation(Ablation value) {
      ablation = Objects.requireNonNull(value, "ablation");
      settings.made("ablation");
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
      targetMemory = Numbers.atLeast(0, "targetMemory", bytes);
      settings.made("targetMemory");
      return this;
    }

    /**
     * Makes the algorithm.
     *
     * @throws IllegalArgumentException if a seed is set where neither mask function nor dropout
     *     takes samples, if a faithfulness target is set beside shares of the answers, or a lambda
     *     for edges to avoid but no such edges
     */
    public SubnetworkProbing build() {
      if (maskFn != MaskFn.HARD_CONCRETE && dropout == 0) {
        settings.refuse(
            "the mask function " + maskFn + " without dropout takes no samples", "seed");
      }
      if (avoidEdges.isEmpty()) {
        settings.refuse("there are no edges to avoid", "avoidLambda");
      }
      if (answerShares) {
        settings.refuse("shares of the answers are compared", "faithfulnessTarget");
      }
      return new SubnetworkProbing(this);
    }
  }
}
