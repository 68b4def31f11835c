package org.autocircuit.eval;

import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.graph.EdgeCountSelection;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.TestEdges;
import org.autocircuit.internal.Settings;
import org.autocircuit.pass.Checkpoint;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.PatchType;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.patch.Use;
import org.autocircuit.prune.PruneScores;
import org.bytedeco.pytorch.Tensor;

/**
 * Runs the circuits that prune scores pick, of several sizes; the counterpart of the Python
 * original's {@code run_circuits}.
 *
 * <p>The circuit of {@code k} edges has all edges whose absolute score is at least the {@code k}-th
 * greatest, so where scores tie it is larger; results go by the size that it really has. What is
 * run on what:
 *
 * <table>
 *   <caption>Prompts, and what is patched</caption>
 *   <tr><th>patch type</th><th>reversed</th><th>prompts</th><th>patched edges</th>
 *       <th>patched with the sources of</th></tr>
 *   <tr><td>{@code TREE_PATCH}</td><td>no</td><td>clean</td><td>all but the circuit</td>
 *       <td>corrupt</td></tr>
 *   <tr><td>{@code TREE_PATCH}</td><td>yes</td><td>corrupt</td><td>all but the circuit</td>
 *       <td>clean</td></tr>
 *   <tr><td>{@code EDGE_PATCH}</td><td>no</td><td>corrupt</td><td>the circuit</td>
 *       <td>clean</td></tr>
 *   <tr><td>{@code EDGE_PATCH}</td><td>yes</td><td>clean</td><td>the circuit</td>
 *       <td>corrupt</td></tr>
 * </table>
 *
 * <p>The last column holds for ablations of one batch; means over a data set are what they are
 * called. Scopes that are open on the thread have no effect. Runs whose logits are not finite end
 * with a {@link org.autocircuit.exception.NotFiniteException}. Immutable, safe to share between
 * threads.
 *
 * <pre>{@code
 * CircuitRuns runs =
 *     CircuitRuns.builder(scores).sizes(List.of(10, 100)).patchType(PatchType.TREE_PATCH).build();
 * runs.measure(model, batches).forEach((edges, measures) -> System.out.println(measures));
 * }</pre>
 */
public final class CircuitRuns {

  /** Takes the outputs of circuits as they come: batch by batch, sizes in order. */
  @FunctionalInterface
  public interface Sink {

    /**
     * Takes one output.
     *
     * @param edges the size of the circuit
     * @param batch index of the batch
     * @param logits the model's output slice
     */
    void accept(int edges, int batch, Logits logits);
  }

  private final Map<Integer, EdgeSet> circuits;
  private final PatchType patchType;
  private final Ablation ablation;
  private final boolean reverseCleanCorrupt;
  private final Progress progress;
  private final Settings settings;

  private CircuitRuns(Builder builder) {
    if (builder.sizes.isEmpty()) {
      throw new IllegalArgumentException(
          "no sizes of circuits to run: scores that are all equal select none; name some with"
              + " sizes(...)");
    }
    Map<Integer, EdgeSet> circuits = new LinkedHashMap<>();
    for (int size : builder.sizes) {
      EdgeSet circuit = builder.scores.circuit(size);
      circuits.putIfAbsent(circuit.size(), circuit);
    }
    this.circuits = Collections.unmodifiableMap(circuits);
    patchType = builder.patchType;
    ablation = builder.ablation;
    reverseCleanCorrupt = builder.reverseCleanCorrupt;
    progress = builder.progress;
    settings = builder.settings.copy();
  }

  /** Begins with the original's defaults: edge patching, resampling, not reversed. */
  public static Builder builder(PruneScores scores) {
    return new Builder(scores);
  }

  /** The circuits by the number of edges that they have, in the order of the sizes asked for. */
  public Map<Integer, EdgeSet> circuits() {
    return circuits;
  }

  /** Returns whether the circuits run on clean prompts, and not on corrupt ones. */
  public boolean runsOnClean() {
    return (patchType == PatchType.TREE_PATCH) != reverseCleanCorrupt;
  }

  /**
   * Runs all circuits on all batches and keeps the outputs. Where they are many and the vocabulary
   * is large, {@link #run(PatchableModel, Collection, Sink)} and {@link #measure} need less memory.
   *
   * @throws IllegalArgumentException if the scores are those of another graph than the model's
   * @throws StoppedException if it was stopped; has the {@code CircuitOutputs} so far
   */
  public CircuitOutputs run(PatchableModel model, Collection<? extends PromptPairBatch> batches) {
    Map<Integer, List<Logits>> outputs = new LinkedHashMap<>();
    try {
      run(
          model,
          batches,
          (edges, batch, logits) ->
              outputs.computeIfAbsent(edges, size -> new ArrayList<>()).add(logits));
    } catch (StoppedException e) {
      throw new StoppedException(e, new CircuitOutputs(outputs));
    }
    return new CircuitOutputs(outputs);
  }

  /**
   * Runs all circuits on all batches, one batch after another.
   *
   * @param sink called on this thread
   * @throws IllegalArgumentException if the scores are those of another graph than the model's
   * @throws StoppedException if it was stopped; the sink has what is done
   */
  public void run(PatchableModel model, Collection<? extends PromptPairBatch> batches, Sink sink) {
    run(model, batches, 0, sink);
  }

  private void run(
      PatchableModel model, Collection<? extends PromptPairBatch> batches, long done, Sink sink) {
    List<Integer> sizes = List.copyOf(circuits.keySet());
    long total = (long) batches.size() * sizes.size();
    passes()
        .run(
            model,
            batches,
            List.copyOf(circuits.values()),
            done,
            (circuit, batch, logits) -> {
              sink.accept(sizes.get(circuit), batch, logits);
              progress.report((long) batch * sizes.size() + circuit + 1, total);
            });
  }

  private CircuitPasses passes() {
    return new CircuitPasses(patchType, ablation, runsOnClean());
  }

  /**
   * Runs all circuits on one input of any kind, with activations of the caller's choice.
   *
   * @param input tokens {@code [batch, seq]}, or what else the model takes
   * @param activations what is patched in
   * @return logits by size, in the order of the sizes asked for
   * @throws IllegalArgumentException if the scores are those of another graph than the model's, or
   *     an ablation type or a reversal was set, which this would ignore
   * @throws StoppedException if it was stopped; has the {@code Map} of the circuits that ran
   */
  public Map<Integer, Logits> run(
      PatchableModel model, Tensor input, SourceActivations activations) {
    return run(model, ModelInput.of(input), activations);
  }

  /** As {@link #run(PatchableModel, Tensor, SourceActivations)}, of an input that may be padded. */
  public Map<Integer, Logits> run(
      PatchableModel model, ModelInput input, SourceActivations activations) {
    settings.refuse("the call brings the activations", "ablation");
    settings.refuse("the call brings input and activations", "reverseCleanCorrupt");
    Map<Integer, Logits> outputs = new LinkedHashMap<>();
    try (Use ofModel = model.use();
        Use ofActivations = activations.use();
        Use ofInput = input.use()) {
      circuits.forEach(
          (edges, circuit) -> {
            outputs.put(edges, passes().logits(model, input, activations, circuit));
            progress.report(outputs.size(), circuits.size());
          });
    } catch (StoppedException e) {
      throw new StoppedException(e, outputs);
    }
    return outputs;
  }

  /**
   * Runs all circuits on all batches, and compares their outputs with the answers, and with the
   * full model on the clean prompts. Outputs are not kept.
   *
   * @return measures by size, in the order of the sizes asked for
   * @throws IllegalArgumentException if the scores are those of another graph than the model's,
   *     there are no batches, or the model's output is not that of one position
   * @throws StoppedException if it was stopped; has the {@code Map} of those sizes that ran, each
   *     measured on the batches that it ran on
   */
  public Map<Integer, CircuitMeasures> measure(
      PatchableModel model, Collection<? extends PromptPairBatch> batches) {
    return measure(model, batches, Checkpoint.NONE);
  }

  /**
   * As {@link #measure(PatchableModel, Collection)}, from where the checkpoint says, which is told
   * of each pass.
   *
   * @throws IllegalArgumentException also if the checkpoint's state is that of another call
   */
  public Map<Integer, CircuitMeasures> measure(
      PatchableModel model, Collection<? extends PromptPairBatch> batches, Checkpoint checkpoint) {
    List<PromptPairBatch> list = List.copyOf(batches);
    List<Integer> sizes = List.copyOf(circuits.keySet());
    MeasureSums sums = new MeasureSums(model, list, sizes.size());
    ResumedPasses passes = new ResumedPasses(checkpoint, (long) list.size() * sizes.size());
    passes.restore(sums::restore);
    try {
      run(
          model,
          list,
          passes.done(),
          (edges, batch, logits) -> {
            sums.accept(sizes.indexOf(edges), batch, logits);
            passes.did(sums::addTo);
          });
      passes.keep(sums::addTo);
    } catch (StoppedException e) {
      passes.keep(sums::addTo);
      throw new StoppedException(e, means(sizes, sums));
    }
    if (list.isEmpty()) {
      throw new IllegalArgumentException("expected at least one batch of prompts, got none");
    }
    return means(sizes, sums);
  }

  private static Map<Integer, CircuitMeasures> means(List<Integer> sizes, MeasureSums sums) {
    Map<Integer, CircuitMeasures> measures = new LinkedHashMap<>();
    for (int circuit = 0; circuit < sizes.size(); circuit++) {
      if (!sums.isEmpty(circuit)) {
        measures.put(sizes.get(circuit), sums.mean(circuit));
      }
    }
    return measures;
  }

  /** Collects the settings. Not safe for use by several threads. */
  public static final class Builder {

    private final PruneScores scores;
    private List<Integer> sizes;
    private PatchType patchType = PatchType.EDGE_PATCH;
    private Ablation ablation = BatchAblation.RESAMPLE;
    private boolean reverseCleanCorrupt;
    private Progress progress = Progress.NONE;
    private final Settings settings = new Settings();

    private Builder(PruneScores scores) {
      this.scores = Objects.requireNonNull(scores, "scores");
      this.sizes = scores.edgeCounts().counts();
    }

    /**
     * Sets the sizes of the circuits, in the order in which they run. Without it they are those
     * that {@link EdgeCountSelection} selects for the scores.
     */
    public Builder sizes(Collection<Integer> values) {
      sizes = List.copyOf(values);
      return this;
    }

    /** Sets a rule for the sizes of the circuits, see {@link EdgeCountSelection}. */
    public Builder sizes(TestEdges rule) {
      return sizes(scores.edgeCounts().testCounts(rule).counts());
    }

    /** Sets whether the circuit is patched, or all but the circuit. */
    public Builder patchType(PatchType value) {
      patchType = Objects.requireNonNull(value, "patchType");
      return this;
    }

    /** Sets what sources are patched with. */
    public Builder ablation(Ablation value) {
      ablation = Objects.requireNonNull(value, "ablation");
      settings.made("ablation");
      return this;
    }

    /** Sets whether clean and corrupt prompts change places. */
    public Builder reverseCleanCorrupt(boolean value) {
      reverseCleanCorrupt = value;
      settings.made("reverseCleanCorrupt");
      return this;
    }

    /** Sets what is told of each forward pass of a circuit. */
    public Builder progress(Progress value) {
      progress = Objects.requireNonNull(value, "progress");
      return this;
    }

    /**
     * Picks the circuits.
     *
     * @throws IllegalArgumentException if a size is negative or more than the number of edges, or
     *     if there is no size, as for scores that are all equal
     */
    public CircuitRuns build() {
      return new CircuitRuns(this);
    }
  }
}
