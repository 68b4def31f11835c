package org.autocircuit.prune;

import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.function.UnaryOperator;
import org.autocircuit.PatchableModel;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.exception.NotFiniteException;
import org.autocircuit.graph.DestModule;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.NativeMaskTraining;
import org.autocircuit.internal.NativeResource;
import org.autocircuit.internal.Settings;
import org.autocircuit.internal.StateReader;
import org.autocircuit.internal.StateWriter;
import org.autocircuit.internal.Stop;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.internal.run.TrainingPasses.Constraint;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.MaskParameters;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchType;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.patch.Use;
import org.bytedeco.pytorch.Tensor;

/**
 * Trains the masks of a model's edges, one step at a time, as {@link SubnetworkProbing} does: each
 * step runs a batch, and goes down the gradient of its loss with Adam (Kingma and Ba, 2015). A step
 * on the divergence from the full model is one native call.
 *
 * <pre>{@code
 * try (SourceActivations mean =
 *         model.sourceAblations(batches, DatasetAblation.TOKENWISE_MEAN_CORRUPT);
 *     MaskTraining training = SubnetworkProbing.builder().build().begin(model, mean)) {
 *   for (int epoch = 0; epoch < 20; epoch++) {
 *     for (PromptPairBatch batch : batches) {
 *       System.out.println(training.step(batch));
 *     }
 *   }
 *   PruneScores scores = training.scores();
 * }
 * }</pre>
 *
 * <p><b>Threads.</b> For the thread that made it, like the masks.
 *
 * <p><b>Ownership.</b> Close it to free the masks and the optimiser's state, from any thread. Model
 * and activations stay the caller's, and must live as long as it is used.
 */
public final class MaskTraining implements AutoCloseable {

  /**
   * Holds what a step went down from.
   *
   * @param total faithfulness and regularisation, weighted
   * @param faithfulness the loss of the patched run
   * @param edges sampled number of edges in the circuit
   * @param nodes sampled number of nodes in the circuit; 0 where nodes have no masks
   */
  public record Losses(double total, double faithfulness, double edges, double nodes) {}

  private final PatchableModel model;
  private final ProbingLoss losses;
  private final SourceActivations activations;
  private final Settings settings;
  private final long seed;
  private final MaskParameters masks;
  private final Optional<Tensor> nodeMasks;
  private final NativeMaskTraining optimiser;
  private final FullModelTargets targets;
  private final NativeResource resource;
  private long steps;

  /**
   * Takes targets, masks and optimiser over.
   *
   * @param activations what edges are patched with; {@code null}: each step brings its own
   * @param nodeMasks of sources, if they have masks of their own
   * @param settings those that a step could not heed
   */
  MaskTraining(
      ProbingLoss losses,
      SourceActivations activations,
      FullModelTargets targets,
      MaskParameters masks,
      Optional<Tensor> nodeMasks,
      NativeMaskTraining optimiser,
      long seed,
      Settings settings) {
    model = losses.model();
    this.losses = losses;
    this.activations = activations;
    this.targets = targets;
    this.masks = masks;
    this.nodeMasks = nodeMasks;
    this.optimiser = optimiser;
    this.seed = seed;
    this.settings = settings;
    resource =
        new NativeResource(
            "MaskTraining",
            () -> {
              targets.close();
              optimiser.close();
              nodeMasks.ifPresent(Tensor::releaseReference);
              masks.close();
            });
  }

  /**
   * One step on the divergence of the patched model from the full one on the clean prompts, at the
   * model's output slice. As in the original the patched model runs on the clean prompts in tree
   * patching, and on the corrupt ones in edge patching. What the full model puts out is computed
   * when a batch comes for the first time, and kept for as many of the last batches as fit into
   * {@link SubnetworkProbing.Builder#targetMemory}, so the weights must stay as they are.
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
    return step(batch, activations);
  }

  /** As {@link #step(PromptPairBatch)}, patched with other activations. */
  Losses step(PromptPairBatch batch, SourceActivations activations) {
    if (targets.shares() || !losses.avoided().edges().isEmpty()) {
      try (NativeResource.Use use = resource.use();
          Use ofModel = model.use();
          CallScope scope = new CallScope()) {
        ModelInput input = input(batch);
        Tensor target = targets.target(batch, scope);
        return stepDown(input, activations, logits -> targets.distance(logits, target, input));
      }
    }
    return step(batch, activations, List.of());
  }

  /**
   * One step on the divergence.
   *
   * @param sparsities what the shares of edges, and of nodes, out of the circuit cost; none: what
   *     edges cost by lambda
   */
  Losses step(PromptPairBatch batch, SourceActivations activations, List<Constraint> sparsities) {
    Stop.check();
    try (NativeResource.Use use = resource.use();
        Use ofModel = model.use();
        Use ofActivations = activations.use();
        CallScope scope = new CallScope()) {
      Losses before =
          losses.step(
              optimiser,
              masks,
              input(batch),
              activations,
              targets.faithfulness(),
              targets.target(batch, scope),
              takesNoise() ? noise(0) : Noise.DEFAULT,
              noise(1),
              sparsities);
      steps++;
      return before;
    }
  }

  private boolean takesNoise() {
    return samples() || losses.dropout() > 0;
  }

  private boolean samples() {
    return losses.maskFn() == MaskFn.HARD_CONCRETE;
  }

  /** Two draws of one step must not be the same. */
  private Noise.Seeded noise(int draw) {
    return new Noise.Seeded(seed, 2 * steps + draw);
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
   * One step on any loss, in several native calls.
   *
   * @param loss differentiable, from logits of the model's output slice, in the precision in which
   *     the model accumulates, to a tensor without dimensions. What it needs of the full model is
   *     best computed once
   * @throws IllegalArgumentException if something does not fit the model, or if the builder was
   *     given a faithfulness target or memory for targets, which this would ignore
   */
  public Losses step(ModelInput input, UnaryOperator<Tensor> loss) {
    requireNoTarget();
    return stepDown(input, activations, loss);
  }

  private Losses stepDown(ModelInput input, SourceActivations patch, UnaryOperator<Tensor> loss) {
    return stepDown(
        input,
        patch,
        loss,
        takesNoise() ? noise(0) : Noise.DEFAULT,
        samples() ? noise(1) : Noise.DEFAULT);
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
    return stepDown(input, activations, loss, forward, count);
  }

  private void requireNoTarget() {
    settings.refuse(
        "the step brings a loss of its own", "faithfulnessTarget", "answerShares", "targetMemory");
  }

  private Losses stepDown(
      ModelInput input,
      SourceActivations patch,
      UnaryOperator<Tensor> loss,
      Noise forward,
      Noise count) {
    Stop.check();
    try (NativeResource.Use use = resource.use();
        Use ofModel = model.use();
        Use ofActivations = patch.use();
        CallScope scope = new CallScope()) {
      Losses before = losses.backward(masks, input, patch, loss, forward, count);
      optimiser.stepAlong(masks.gradients());
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

  /** Sets the masks before the first step. */
  void setMasks(double[] values) {
    masks.set(values);
  }

  /** Writes the state to resume from. */
  StateWriter state() {
    return new StateWriter().add(steps).add(optimiser.state());
  }

  /** Resumes from what was written. */
  void restore(StateReader state, long mostSteps) {
    long done = state.nextCount(mostSteps);
    optimiser.restore(state.next(optimiser.state().length), done);
    steps = done;
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
   * that the smallest score is 0. Where nodes have masks, too, the value of an edge is that of a
   * mask that alone would have it in the circuit as often: {@code logit(sigmoid(edge) *
   * sigmoid(source))}, both with the sign of what is in the circuit.
   */
  public PruneScores scores() {
    double sign = losses.patchType() == PatchType.TREE_PATCH ? -1 : 1;
    double[] values = Arrays.stream(masks.toArray()).map(value -> sign * value).toArray();
    nodeMasks.ifPresent(nodes -> joinNodes(values, nodes, sign));
    double least = Arrays.stream(values).min().orElse(0);
    return PruneScores.wrap(
        model.graph(), Arrays.stream(values).map(value -> value - least).toArray());
  }

  private void joinNodes(double[] values, Tensor nodes, double sign) {
    double[] ofNodes;
    try (CallScope scope = new CallScope()) {
      ofNodes = TensorArrays.doubles(nodes);
    }
    for (DestModule module : model.graph().destModules()) {
      for (int i = module.offset(); i < module.end(); i++) {
        values[i] = both(values[i], sign * ofNodes[module.srcIdx(i)]);
      }
    }
  }

  /** Returns {@code logit(sigmoid(a) * sigmoid(b))}, wherever they are: 1/p - 1 is a sum. */
  static double both(double a, double b) {
    return -Math.log(Math.exp(-a) + Math.exp(-b) + Math.exp(-a - b));
  }

  /** Gives the memory back. Does nothing the second time. */
  @Override
  public void close() {
    resource.close();
  }
}
