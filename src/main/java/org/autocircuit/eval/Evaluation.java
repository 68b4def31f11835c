package org.autocircuit.eval;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.internal.StateReader;
import org.autocircuit.internal.StateWriter;
import org.autocircuit.pass.Checkpoint;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.PatchType;

/**
 * Measures circuits prompt by prompt under conditions that the results name. Where nothing else is
 * said all but the circuit is patched ({@link PatchType#TREE_PATCH}), with the corrupt prompts'
 * activations, on clean prompts: does the circuit alone still give the answer?
 *
 * <p>Scopes that are open on the thread have no effect. Immutable, safe to share between threads.
 *
 * <pre>{@code
 * Evaluation evaluation = Evaluation.of(PromptMetric.answerDifference(AnswerScale.LOGIT));
 * System.out.println(evaluation.measure(model, batches, circuit));
 * }</pre>
 */
public final class Evaluation {

  private final PromptMetric metric;
  private final PatchType patchType;
  private final Ablation ablation;
  private final PatchDirection direction;
  private final Progress progress;
  private final Checkpoint checkpoint;

  private Evaluation(
      PromptMetric metric,
      PatchType patchType,
      Ablation ablation,
      PatchDirection direction,
      Progress progress,
      Checkpoint checkpoint) {
    this.metric = Objects.requireNonNull(metric, "metric");
    this.patchType = Objects.requireNonNull(patchType, "patchType");
    this.ablation = Objects.requireNonNull(ablation, "ablation");
    this.direction = Objects.requireNonNull(direction, "direction");
    this.progress = Objects.requireNonNull(progress, "progress");
    this.checkpoint = Objects.requireNonNull(checkpoint, "checkpoint");
  }

  /** Measures so, all but the circuit patched with corrupt prompts' activations. */
  public static Evaluation of(PromptMetric metric) {
    return new Evaluation(
        metric,
        PatchType.TREE_PATCH,
        BatchAblation.RESAMPLE,
        PatchDirection.NOISING,
        Progress.NONE,
        Checkpoint.NONE);
  }

  /** This evaluation with the circuit patched, or all but the circuit. */
  public Evaluation withPatchType(PatchType value) {
    return new Evaluation(metric, value, ablation, direction, progress, checkpoint);
  }

  /**
   * This evaluation with other activations patched in; those of a single batch are computed from
   * the prompts that circuits do not run on.
   */
  public Evaluation withAblation(Ablation value) {
    return new Evaluation(metric, patchType, value, direction, progress, checkpoint);
  }

  /** This evaluation on clean or on corrupt prompts. */
  public Evaluation withDirection(PatchDirection value) {
    return new Evaluation(metric, patchType, ablation, value, progress, checkpoint);
  }

  /** This evaluation, which tells how many passes of circuits are done, and how many there are. */
  public Evaluation withProgress(Progress value) {
    return new Evaluation(metric, patchType, ablation, direction, value, checkpoint);
  }

  /**
   * This evaluation from where a checkpoint says, which is told of each pass. For one measurement,
   * which refuses the state of another one.
   */
  public Evaluation withCheckpoint(Checkpoint value) {
    return new Evaluation(metric, patchType, ablation, direction, progress, value);
  }

  /**
   * Measures a circuit on all prompts.
   *
   * @param model its masks are not touched
   * @param batches at least one
   * @throws IllegalArgumentException if there is no batch, or the circuit is of another graph
   * @throws org.autocircuit.exception.NotFiniteException if a logit is NaN or infinite
   * @throws StoppedException if it was stopped
   */
  public PromptValues measure(
      PatchableModel model, Collection<? extends PromptPairBatch> batches, EdgeSet circuit) {
    return measure(model, batches, List.of(circuit)).get(0);
  }

  /**
   * Measures circuits on all prompts. The activations of a batch are computed once for all of them.
   *
   * @return one for each circuit
   * @throws IllegalArgumentException as {@link #measure(PatchableModel, Collection, EdgeSet)}
   * @throws StoppedException if it was stopped; has the {@code List} of values on those batches
   *     that all circuits ran on, or, if there is none, of those circuits that ran on the first
   */
  public List<PromptValues> measure(
      PatchableModel model, Collection<? extends PromptPairBatch> batches, List<EdgeSet> circuits) {
    return measure(model, List.copyOf(batches), circuits, Optional.empty());
  }

  /** The same, and adds up measures, where there are sums. */
  List<PromptValues> measure(
      PatchableModel model,
      List<PromptPairBatch> list,
      List<EdgeSet> circuits,
      Optional<MeasureSums> sums) {
    if (list.isEmpty()) {
      throw new IllegalArgumentException("batches: expected at least one, got none");
    }
    int[] first = new int[list.size() + 1]; // the last one is the number of prompts
    for (int batch = 0; batch < list.size(); batch++) {
      first[batch + 1] = first[batch] + list.get(batch).size();
    }
    int prompts = first[list.size()];
    double[][] values = new double[circuits.size()][prompts];
    long total = (long) list.size() * circuits.size();
    ResumedPasses passes = new ResumedPasses(checkpoint, total);
    passes.restore(state -> restore(state, values, sums));
    try {
      new CircuitPasses(patchType, ablation, direction == PatchDirection.NOISING)
          .run(
              model,
              list,
              circuits,
              passes.done(),
              (circuit, batch, logits) -> {
                double[] some = metric.values(logits, list.get(batch));
                System.arraycopy(some, 0, values[circuit], first[batch], list.get(batch).size());
                sums.ifPresent(measures -> measures.accept(circuit, batch, logits));
                passes.did(state -> addTo(state, values, sums));
                progress.report(passes.done(), total);
              });
    } catch (StoppedException e) {
      passes.keep(state -> addTo(state, values, sums));
      int whole = (int) (passes.done() / circuits.size());
      int alike = whole > 0 ? circuits.size() : (int) passes.done();
      int measured = first[Math.max(whole, 1)];
      throw new StoppedException(e, values(circuits.subList(0, alike), values, measured));
    }
    passes.keep(state -> addTo(state, values, sums));
    return values(circuits, values, prompts);
  }

  private static void addTo(StateWriter state, double[][] values, Optional<MeasureSums> sums) {
    for (double[] ofCircuit : values) {
      state.add(ofCircuit);
    }
    sums.ifPresent(measures -> measures.addTo(state));
  }

  private static void restore(StateReader state, double[][] values, Optional<MeasureSums> sums) {
    for (double[] ofCircuit : values) {
      System.arraycopy(state.next(ofCircuit.length), 0, ofCircuit, 0, ofCircuit.length);
    }
    sums.ifPresent(measures -> measures.restore(state));
  }

  /** Values of some circuits on the first prompts. */
  private List<PromptValues> values(List<EdgeSet> circuits, double[][] values, int prompts) {
    Conditions conditions = new Conditions(metric.name(), patchType, ablation, direction, prompts);
    List<PromptValues> measured = new ArrayList<>();
    for (int circuit = 0; circuit < circuits.size(); circuit++) {
      double[] some = Arrays.copyOf(values[circuit], prompts);
      measured.add(new PromptValues(conditions, circuits.get(circuit).size(), some));
    }
    return measured;
  }
}
