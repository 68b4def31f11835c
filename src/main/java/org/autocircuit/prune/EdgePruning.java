package org.autocircuit.prune;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.function.ToDoubleFunction;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.Numbers;
import org.autocircuit.internal.StateReader;
import org.autocircuit.internal.StateWriter;
import org.autocircuit.internal.run.TrainingPasses.Constraint;
import org.autocircuit.pass.Checkpoint;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Use;

/**
 * Edge Pruning (Bhaskar, Wettig, Friedman and Chen 2024, arXiv 2406.16778): trains hard-concrete
 * masks toward a circuit of a given size that puts out what the full model does. A step runs a
 * batch of clean prompts, the edges outside the circuit patched, and goes down
 *
 * <pre>KL(full model ‖ circuit) + lambda1 * (s - t) + lambda2 * (s - t)^2</pre>
 *
 * where {@code s} is the sparsity, the share of edges that are not in the circuit, of a sample of
 * the masks, and {@code t} its target, which goes in a line from the sparsity of the masks at the
 * start to the one that was set, during a warm-up. Both lambdas begin at 0 and go up the gradient
 * of the same sum: as long as the sparsity is off, the penalty grows.
 *
 * <p>With a target for nodes ({@link Builder#targetNodeSparsity}) sources have masks of their own,
 * and an edge is in the circuit as far as both its mask and its source's say so: the product of
 * both. Edges are counted by that product; nodes have a penalty like that of edges with lambdas of
 * their own.
 *
 * <p>Scores are masks at the end, seen from the least one ({@link MaskTraining#scores}); {@link
 * #circuit} makes them a circuit of exactly the target sparsity. A step costs what one of {@link
 * SubnetworkProbing} does. Batches have to be equally large if every prompt is to count the same.
 *
 * <p>Immutable; safe to share between threads.
 */
public final class EdgePruning implements ResumableAlgorithm {

  /** Masks at the start: as far from 0 as those of subnetwork probing. */
  private static final double START = Math.log(5);

  private final double targetSparsity;
  private final OptionalDouble targetNodeSparsity;
  private final double warmUp;
  private final double lambdaRate;
  private final int epochs;
  private final Ablation ablation;
  private final Optional<PruneScores> start;
  private final SubnetworkProbing probing;

  private EdgePruning(Builder builder) {
    targetSparsity = builder.targetSparsity;
    targetNodeSparsity = builder.targetNodeSparsity;
    warmUp = builder.warmUp;
    lambdaRate = builder.lambdaRate;
    epochs = builder.epochs;
    ablation = builder.ablation;
    start = Optional.ofNullable(builder.start);
    probing =
        SubnetworkProbing.builder()
            .initialValue(-START)
            .learningRate(builder.learningRate)
            .seed(builder.seed)
            .build();
  }

  /**
   * Begins with a target sparsity of 0.97, no masks of nodes, from the full model, a warm-up of
   * half the steps, learning rates 0.1 of masks and 1 of lambdas, 100 epochs, resampling from
   * corrupt prompts, and seed 0.
   */
  public static Builder builder() {
    return new Builder();
  }

  @Override
  public String name() {
    return start.isPresent() ? "edge pruning, warm start" : "edge pruning";
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

  /** Returns how many edges a circuit of the target sparsity has, rounded. */
  public int circuitSize(ModelGraph graph) {
    return Math.toIntExact(Math.round((1 - targetSparsity) * graph.nEdges()));
  }

  /**
   * Returns the circuit of the target sparsity: the edges above the threshold on masks that
   * bisection would find, those that lie on it in the order of their indices, so that the size is
   * exactly {@link #circuitSize}.
   */
  public EdgeSet circuit(PruneScores scores) {
    ModelGraph graph = scores.graph();
    return EdgeSet.of(
        graph,
        scores.top(circuitSize(graph)).stream().mapToInt(s -> graph.index(s.edge())).toArray());
  }

  /**
   * Trains masks for all epochs, each a step on every batch in the order given.
   *
   * @param progress is told of each step: epochs times batches
   * @param checkpoint is told of each step
   * @throws IllegalArgumentException also if the scores to start from are of another graph
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
    Epochs all =
        new Epochs(model, batches, epochs, ablation, CleanCorrupt.CORRUPT, progress, checkpoint);
    try (Use use = model.use();
        MaskTraining training =
            probing.training(model, null, /* nodes= */ targetNodeSparsity.isPresent())) {
      start.ifPresent(scores -> training.setMasks(masks(model.graph(), scores)));
      Sparsities sparsities = new Sparsities(sparsities(model.graph()));
      return all.train(
          training,
          sparsities,
          (batch, activations) -> {
            double done = warmUp == 0 ? 1 : Math.min(1, training.steps() / (warmUp * all.steps()));
            MaskTraining.Losses losses =
                training.step(
                    batch,
                    activations,
                    sparsities.all().stream().map(sparsity -> sparsity.constraint(done)).toList());
            sparsities.all().forEach(sparsity -> sparsity.ascend(losses, done, lambdaRate));
          });
    }
  }

  /** Those of edges, and perhaps of nodes. */
  private record Sparsities(List<Sparsity> all) implements Epochs.More {

    @Override
    public void addTo(StateWriter state) {
      all.forEach(sparsity -> sparsity.addTo(state));
    }

    @Override
    public void restore(StateReader state) {
      all.forEach(sparsity -> sparsity.restore(state));
    }
  }

  private List<Sparsity> sparsities(ModelGraph graph) {
    List<Sparsity> all = new ArrayList<>();
    all.add(new Sparsity(targetSparsity, graph.nEdges(), MaskTraining.Losses::edges));
    targetNodeSparsity.ifPresent(
        target -> all.add(new Sparsity(target, graph.srcs().size(), MaskTraining.Losses::nodes)));
    return all;
  }

  /** The share of edges or nodes that is not in the circuit, and what it costs to be off. */
  private static final class Sparsity {

    private final double last;
    private final int all;
    private final ToDoubleFunction<MaskTraining.Losses> inCircuit;
    private double first = Double.NaN;
    private Lagrangian lambdas = new Lagrangian(0, 0);

    /**
     * Begins without a penalty.
     *
     * @param last the target after the warm-up
     * @param all how many there are
     * @param inCircuit how many are in the circuit
     */
    Sparsity(double last, int all, ToDoubleFunction<MaskTraining.Losses> inCircuit) {
      this.last = last;
      this.all = all;
      this.inCircuit = inCircuit;
    }

    /** The cost in a step at which a share of the warm-up is done. */
    Constraint constraint(double done) {
      // Nothing is known at the first step, and nothing costs anything.
      double target = Double.isNaN(first) ? last : target(done);
      return new Constraint(lambdas.linear, lambdas.quadratic, target);
    }

    /** Goes up after that step. */
    void ascend(MaskTraining.Losses losses, double done, double rate) {
      double sparsity = 1 - inCircuit.applyAsDouble(losses) / all;
      first = Double.isNaN(first) ? sparsity : first;
      lambdas = lambdas.ascended(sparsity - target(done), rate);
    }

    void addTo(StateWriter state) {
      state.add(first).add(lambdas.linear).add(lambdas.quadratic);
    }

    void restore(StateReader state) {
      first = state.next();
      lambdas = new Lagrangian(state.next(), state.next());
    }

    private double target(double done) {
      return first + done * (last - first);
    }
  }

  /**
   * The multipliers of the constraint that a sparsity be what it should.
   *
   * @param linear lambda1
   * @param quadratic lambda2
   */
  record Lagrangian(double linear, double quadratic) {

    /** A step up the gradient with respect to the multipliers. */
    Lagrangian ascended(double off, double rate) {
      return new Lagrangian(linear + rate * off, quadratic + rate * off * off);
    }
  }

  /**
   * Masks whose order is that of the scores: evenly from in the circuit to out of it, such that
   * those that the circuit has room for are in.
   */
  private double[] masks(ModelGraph graph, PruneScores scores) {
    if (!scores.graph().equals(graph)) {
      throw new IllegalArgumentException(
          "start: expected scores of the %s, got those of the %s".formatted(graph, scores.graph()));
    }
    double[] masks = new double[graph.nEdges()];
    int size = circuitSize(graph);
    int rank = 0;
    for (ScoredEdge edge : scores.sorted()) {
      double share =
          rank < size ? -1 + (double) rank / size : (rank - size + 1.0) / (masks.length - size);
      masks[graph.index(edge.edge())] = START * share;
      rank++;
    }
    return masks;
  }

  /** Collects settings. Not safe for use by several threads. */
  public static final class Builder {

    private double targetSparsity = 0.97;
    private OptionalDouble targetNodeSparsity = OptionalDouble.empty();
    private double warmUp = 0.5;
    private double learningRate = 0.1;
    private double lambdaRate = 1;
    private int epochs = 100;
    private Ablation ablation = BatchAblation.RESAMPLE;
    private PruneScores start;
    private long seed;

    private Builder() {}

    /**
     * Sets which share of all edges is not to be in the circuit.
     *
     * @throws IllegalArgumentException if it is not between 0 and 1
     */
    public Builder targetSparsity(double value) {
      targetSparsity = share("targetSparsity", value);
      return this;
    }

    /**
     * Gives sources masks of their own, and sets which share of them is not to be in the circuit.
     *
     * @throws IllegalArgumentException if it is not between 0 and 1
     */
    public Builder targetNodeSparsity(double value) {
      targetNodeSparsity = OptionalDouble.of(share("targetNodeSparsity", value));
      return this;
    }

    /**
     * Sets during which share of the steps the target goes to the target sparsity.
     *
     * @throws IllegalArgumentException if it is not between 0 and 1
     */
    public Builder warmUp(double value) {
      warmUp = share("warmUp", value);
      return this;
    }

    private static double share(String name, double value) {
      if (!(value >= 0 && value <= 1)) {
        throw new IllegalArgumentException(name + ": expected a number from 0 to 1, got " + value);
      }
      return value;
    }

    /**
     * Sets the learning rate of Adam on masks.
     *
     * @throws IllegalArgumentException if it is not a positive number
     */
    public Builder learningRate(double value) {
      learningRate = Numbers.positive("learningRate", value);
      return this;
    }

    /**
     * Sets how fast the lambdas grow.
     *
     * @throws IllegalArgumentException if it is not a positive number
     */
    public Builder lambdaRate(double value) {
      lambdaRate = Numbers.positive("lambdaRate", value);
      return this;
    }

    /**
     * Sets how often each batch is visited.
     *
     * @throws IllegalArgumentException if it is less than 1
     */
    public Builder epochs(int value) {
      epochs = Numbers.atLeast(1, "epochs", value);
      return this;
    }

    /** Sets what edges outside the circuit are patched with; by default corrupt prompts. */
    public Builder ablation(Ablation value) {
      ablation = Objects.requireNonNull(value, "ablation");
      return this;
    }

    /**
     * Starts from the ranking of other scores, whatever their unit, instead of from the full model:
     * the greater an absolute score, the farther in the circuit an edge begins.
     */
    public Builder start(PruneScores scores) {
      start = Objects.requireNonNull(scores, "scores");
      return this;
    }

    /** Sets what the samples follow from. */
    public Builder seed(long value) {
      seed = value;
      return this;
    }

    /** Makes the algorithm. */
    public EdgePruning build() {
      return new EdgePruning(this);
    }
  }
}
