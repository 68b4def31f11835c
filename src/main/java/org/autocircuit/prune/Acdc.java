package org.autocircuit.prune;

import java.util.Arrays;
import java.util.BitSet;
import java.util.Collection;
import java.util.Comparator;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.CallScope;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.Checkpoint;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.patch.Use;

/**
 * Automatic circuit discovery (Conmy et al. 2023); the counterpart of the Python original's {@code
 * acdc_prune_scores}. For each threshold it starts from the full model and visits the edges from
 * the output backward. An edge is removed, that is patched from then on with what its source puts
 * out on the corrupt prompt, if that makes the model's outputs diverge from the full model's by
 * less than the threshold more than they did.
 *
 * <p>What is left at the end of a threshold's run is its circuit. An edge's score is the smallest
 * threshold at which it was removed, and infinite if it never was. Thresholds have the unit of the
 * divergence, which is a mean over all prompts, whatever their number.
 *
 * <p>As in the original it all happens on one batch: each decision depends on those before it, and
 * on all prompts. Where there are several batches they are {@linkplain PromptPairBatch#join
 * joined}, so memory grows with the number of prompts, unlike that of other algorithms.
 *
 * <pre>{@code
 * AcdcResult found =
 *     Acdc.builder()
 *         .faithfulnessTarget(FaithfulnessTarget.KL_DIV)
 *         .thresholds(0.003, 0.01, 0.03) // nats
 *         .build()
 *         .search(model, batch);
 * EdgeSet circuit = found.circuit(0.01); // what the run at 0.01 left
 * PruneScores scores = found.scores(); // 0.01: removed at 0.01, but not at 0.003
 * }</pre>
 *
 * <p><b>Speed.</b> A test computes what it changes ({@link org.autocircuit.pass.IncrementalRun}):
 * the row of the edge's destination and what that reaches through edges that are left. The memory
 * is what such a run keeps.
 *
 * <p><b>Decisions are those of the sequential algorithm</b> ({@link Builder#sequential}), which
 * runs the whole model for each test, as long as logits of the two differ by no more than {@link
 * Builder#tolerance} times the greatest logit of the full model: from that follows by how much a
 * divergence can be off, and a test that comes closer to the threshold is done again as the
 * sequential algorithm does it.
 *
 * <p>Immutable; safe to share between threads.
 */
public final class Acdc implements ResumableAlgorithm {

  /**
   * Holds what became of an edge.
   *
   * @param done decisions so far, this one counted
   * @param total decisions in all: thresholds times edges
   * @param threshold at which it was decided
   * @param edge what was tested
   * @param divergence of the model without this edge and those removed before it; that of the last
   *     test where none was needed
   * @param removed whether it was removed
   */
  public record Decision(
      long done, long total, double threshold, Edge edge, double divergence, boolean removed) {}

  private final FaithfulnessTarget faithfulnessTarget;
  private final double[] thresholds;
  private final Optional<List<Edge>> edgeOrder;
  private final List<Edge> removed;
  private final OptionalDouble tolerance;
  private final boolean sequential;
  private final Consumer<? super Decision> listener;

  private Acdc(Builder builder) {
    faithfulnessTarget = builder.faithfulnessTarget;
    thresholds = builder.thresholds;
    edgeOrder = Optional.ofNullable(builder.edgeOrder);
    removed = builder.removed;
    tolerance = builder.tolerance;
    sequential = builder.sequential;
    listener = builder.listener;
  }

  /**
   * Begins with the divergence of distributions, thresholds 1, 3, 5, 7 and 9 times 10 to the -5 to
   * -2, and all edges.
   */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * Searches for circuits on one batch: its clean prompts, patched from its corrupt ones, at the
   * model's output slice.
   *
   * @param model its masks are not touched
   * @param progress is told of each decision: thresholds times edges
   * @throws IllegalArgumentException if the batch does not fit the model, or an edge of the order
   *     or of those removed before is not of its graph
   * @throws IllegalStateException if the model is closed
   * @throws org.autocircuit.exception.NotFiniteException if a logit is NaN or infinite
   * @throws StoppedException if it was stopped; has the {@link AcdcResult}: scores of what was
   *     decided, and circuits of the runs that had ended
   */
  public AcdcResult search(PatchableModel model, PromptPairBatch batch, Progress progress) {
    return search(model, batch, progress, Checkpoint.NONE);
  }

  /**
   * As {@link #search(PatchableModel, PromptPairBatch, Progress)}, from where the checkpoint says,
   * which is told of each decision.
   *
   * @throws IllegalArgumentException also if the checkpoint's state is that of another search
   */
  public AcdcResult search(
      PatchableModel model, PromptPairBatch batch, Progress progress, Checkpoint checkpoint) {
    try (Use use = model.use();
        CallScope scope = new CallScope();
        SourceActivations corrupt =
            model.sourceAblations(batch.corrupt(), BatchAblation.RESAMPLE)) {
      ModelInput clean = ModelInput.ofPrompts(batch.clean(), model.device());
      return search(model, clean, corrupt, progress, checkpoint);
    }
  }

  /** As {@link #search(PatchableModel, PromptPairBatch, Progress)}, without reports. */
  public AcdcResult search(PatchableModel model, PromptPairBatch batch) {
    return search(model, batch, Progress.NONE);
  }

  /**
   * Searches for circuits on an input of any kind, patched with activations of the caller's choice.
   *
   * @throws IllegalArgumentException if input or activations do not fit the model, or an edge of
   *     the order or of those removed before is not of its graph
   * @throws IllegalStateException if the model or the activations are closed
   */
  public AcdcResult search(
      PatchableModel model, ModelInput clean, SourceActivations corrupt, Progress progress) {
    return search(model, clean, corrupt, progress, Checkpoint.NONE);
  }

  private AcdcResult search(
      PatchableModel model,
      ModelInput clean,
      SourceActivations corrupt,
      Progress progress,
      Checkpoint checkpoint) {
    ModelGraph graph = model.graph();
    BitSet removedBefore = new BitSet();
    removed.forEach(edge -> removedBefore.set(graph.index(edge)));
    int[] order = order(graph, removedBefore);
    long total = (long) thresholds.length * order.length;
    Objects.requireNonNull(progress, "progress");
    try (Use ofModel = model.use();
        Use ofCorrupt = corrupt.use();
        Use ofClean = clean.use();
        CallScope scope = new CallScope()) {
      AcdcSearch search =
          new AcdcSearch(
              model,
              clean,
              corrupt,
              faithfulnessTarget,
              order,
              removedBefore,
              sequential,
              tolerance.orElseGet(() -> tolerance(model.precision())),
              checkpoint,
              (done, threshold, edge, divergence, isRemoved) -> {
                listener.accept(
                    new Decision(done, total, threshold, graph.edge(edge), divergence, isRemoved));
                progress.report(done, total);
              });
      try {
        search.run(thresholds);
      } catch (StoppedException e) {
        throw new StoppedException(e, search.result());
      } finally {
        checkpoint.keep(search.state());
      }
      return search.result();
    }
  }

  /**
   * As {@link #search(PatchableModel, ModelInput, SourceActivations, Progress)}, without reports.
   */
  public AcdcResult search(PatchableModel model, ModelInput clean, SourceActivations corrupt) {
    return search(model, clean, corrupt, Progress.NONE);
  }

  /**
   * Returns the scores that {@link #search(PatchableModel, PromptPairBatch, Progress)} finds on all
   * prompts, as one batch.
   *
   * @param checkpoint is told of each decision
   * @throws StoppedException as {@code search}, with the {@link PruneScores} of what was decided:
   *     edges that were not removed so far are infinite
   */
  @Override
  public PruneScores pruneScores(
      PatchableModel model,
      Collection<? extends PromptPairBatch> batches,
      Progress progress,
      Checkpoint checkpoint) {
    PatchedBatches.requireSome(batches);
    try {
      return search(model, PromptPairBatch.join(batches), progress, checkpoint).scores();
    } catch (StoppedException e) {
      throw e.partial(AcdcResult.class)
          .map(partial -> new StoppedException(e, partial.scores()))
          .orElse(e);
    }
  }

  @Override
  public String name() {
    return "ACDC";
  }

  @Override
  public String unit() {
    return faithfulnessTarget.unit();
  }

  @Override
  public ScoreSign sign() {
    return ScoreSign.UNSIGNED;
  }

  /** Indices of the edges to visit in descending order of their destinations' layers. */
  private int[] order(ModelGraph graph, BitSet removedBefore) {
    int[] given =
        edgeOrder
            .map(edges -> edges.stream().mapToInt(graph::index).toArray())
            .orElseGet(() -> IntStream.range(0, graph.nEdges()).toArray());
    BitSet seen = new BitSet();
    for (int edge : given) {
      if (seen.get(edge)) {
        throw new IllegalArgumentException(
            "edgeOrder: expected each edge once, got %s twice".formatted(graph.edge(edge)));
      }
      seen.set(edge);
    }
    return Arrays.stream(given)
        .filter(edge -> !removedBefore.get(edge))
        .boxed()
        .sorted(Comparator.comparing(edge -> -graph.edge(edge).dest().layer()))
        .mapToInt(Integer::intValue)
        .toArray();
  }

  /** A generous guess of what another order of summation changes. */
  private static double tolerance(Precision precision) {
    return switch (precision) {
      case FLOAT64 -> 16 * 0x1p-53;
      case FLOAT32 -> 16 * 0x1p-24;
      case FLOAT16 -> 4 * 0x1p-11; // sums are rounded once
      case BFLOAT16 -> 4 * 0x1p-8;
    };
  }

  /** Collects settings. Not safe for use by several threads. */
  public static final class Builder {

    private FaithfulnessTarget faithfulnessTarget = FaithfulnessTarget.KL_DIV;
    private double[] thresholds = grid(new double[] {1, 3, 5, 7, 9}, new int[] {-5, -4, -3, -2});
    private List<Edge> edgeOrder;
    private List<Edge> removed = List.of();
    private OptionalDouble tolerance = OptionalDouble.empty();
    private boolean sequential;
    private Consumer<? super Decision> listener = decision -> {};

    private Builder() {}

    /** Sets how the outputs are compared with the full model's. */
    public Builder faithfulnessTarget(FaithfulnessTarget value) {
      faithfulnessTarget = Objects.requireNonNull(value, "faithfulnessTarget");
      return this;
    }

    /**
     * Sets the thresholds, in the order in which they are tried.
     *
     * @throws IllegalArgumentException if there is none, or one that is not a positive number
     */
    public Builder thresholds(double... values) {
      if (values.length == 0) {
        throw new IllegalArgumentException("thresholds: expected at least one, got none");
      }
      for (double value : values) {
        if (!(value > 0 && value < Double.POSITIVE_INFINITY)) {
          throw new IllegalArgumentException(
              "thresholds: expected positive numbers, got " + Arrays.toString(values));
        }
      }
      thresholds = values.clone();
      return this;
    }

    /**
     * Sets the thresholds {@code base * 10^exp}, for all bases and each of them all exponents: the
     * original's {@code tao_bases} and {@code tao_exps}.
     */
    public Builder thresholdGrid(double[] bases, int[] exps) {
      return thresholds(grid(bases, exps));
    }

    /**
     * Sets the edges that are visited; others stay, and their score is infinite. Without it all are
     * visited in the order of their indices. In any case destinations of later layers come first;
     * edges of one layer keep the order.
     */
    public Builder edgeOrder(Collection<Edge> edges) {
      edgeOrder = List.copyOf(edges);
      return this;
    }

    /**
     * Sets edges that are removed before the search begins, for each threshold: what an earlier
     * search had removed when it was interrupted. They are not visited, and their score is 0. By
     * default no edge is removed.
     */
    public Builder removed(Collection<Edge> edges) {
      removed = List.copyOf(edges);
      return this;
    }

    /**
     * Sets the greatest difference between logits of a test and of a whole run, as a share of the
     * greatest logit. Without it 16 roundings of the model's precision (9.5e-7 for 32-bit floats),
     * or 4 if it is of 16 bits.
     *
     * @throws IllegalArgumentException if it is negative or not a number
     */
    public Builder tolerance(double value) {
      if (!(value >= 0)) {
        throw new IllegalArgumentException("tolerance: expected 0 or more, got " + value);
      }
      tolerance = OptionalDouble.of(value);
      return this;
    }

    /** Tests each edge by a whole run, for comparison. */
    public Builder sequential() {
      sequential = true;
      return this;
    }

    /** Sets what is told of each decision, on the calling thread. */
    public Builder listener(Consumer<? super Decision> value) {
      listener = Objects.requireNonNull(value, "listener");
      return this;
    }

    /**
     * Makes the algorithm.
     *
     * @throws IllegalArgumentException if a tolerance is set for whole runs, which have none
     */
    public Acdc build() {
      if (sequential && tolerance.isPresent()) {
        throw new IllegalArgumentException(
            "tolerance: expected none for sequential tests, got " + tolerance.getAsDouble());
      }
      return new Acdc(this);
    }

    private static double[] grid(double[] bases, int[] exps) {
      return Arrays.stream(bases)
          .flatMap(base -> Arrays.stream(exps).mapToDouble(exp -> base * Math.pow(10, exp)))
          .toArray();
    }
  }
}
