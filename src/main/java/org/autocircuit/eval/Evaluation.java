package org.autocircuit.eval;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Objects;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.EdgeSet;
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

  private Evaluation(
      PromptMetric metric,
      PatchType patchType,
      Ablation ablation,
      PatchDirection direction,
      Progress progress) {
    this.metric = Objects.requireNonNull(metric, "metric");
    this.patchType = Objects.requireNonNull(patchType, "patchType");
    this.ablation = Objects.requireNonNull(ablation, "ablation");
    this.direction = Objects.requireNonNull(direction, "direction");
    this.progress = Objects.requireNonNull(progress, "progress");
  }

  /** Measures so, all but the circuit patched with corrupt prompts' activations. */
  public static Evaluation of(PromptMetric metric) {
    return new Evaluation(
        metric,
        PatchType.TREE_PATCH,
        BatchAblation.RESAMPLE,
        PatchDirection.NOISING,
        Progress.NONE);
  }

  /** This evaluation with the circuit patched, or all but the circuit. */
  public Evaluation withPatchType(PatchType value) {
    return new Evaluation(metric, value, ablation, direction, progress);
  }

  /**
   * This evaluation with other activations patched in; those of a single batch are computed from
   * the prompts that circuits do not run on.
   */
  public Evaluation withAblation(Ablation value) {
    return new Evaluation(metric, patchType, value, direction, progress);
  }

  /** This evaluation on clean or on corrupt prompts. */
  public Evaluation withDirection(PatchDirection value) {
    return new Evaluation(metric, patchType, ablation, value, progress);
  }

  /** This evaluation, which tells how many passes of circuits are done, and how many there are. */
  public Evaluation withProgress(Progress value) {
    return new Evaluation(metric, patchType, ablation, direction, value);
  }

  /**
   * Measures a circuit on all prompts.
   *
   * @param model its masks are not touched
   * @param batches at least one
   * @throws IllegalArgumentException if there is no batch, or the circuit is of another graph
   * @throws org.autocircuit.exception.NotFiniteException if a logit is NaN or infinite
   * @throws org.autocircuit.exception.StoppedException if it was stopped
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
   */
  public List<PromptValues> measure(
      PatchableModel model, Collection<? extends PromptPairBatch> batches, List<EdgeSet> circuits) {
    List<PromptPairBatch> list = List.copyOf(batches);
    if (list.isEmpty()) {
      throw new IllegalArgumentException("batches: expected at least one, got none");
    }
    int prompts = list.stream().mapToInt(PromptPairBatch::size).sum();
    int[] first = new int[list.size()];
    for (int batch = 1; batch < first.length; batch++) {
      first[batch] = first[batch - 1] + list.get(batch - 1).size();
    }
    double[][] values = new double[circuits.size()][prompts];
    long passes = (long) list.size() * circuits.size();
    new CircuitPasses(patchType, ablation, direction == PatchDirection.NOISING)
        .run(
            model,
            list,
            circuits,
            (circuit, batch, logits) -> {
              double[] some = metric.values(logits, list.get(batch));
              System.arraycopy(some, 0, values[circuit], first[batch], list.get(batch).size());
              progress.report((long) batch * circuits.size() + circuit + 1, passes);
            });
    Conditions conditions = new Conditions(metric.name(), patchType, ablation, direction, prompts);
    List<PromptValues> measured = new ArrayList<>();
    for (int circuit = 0; circuit < values.length; circuit++) {
      measured.add(new PromptValues(conditions, circuits.get(circuit).size(), values[circuit]));
    }
    return measured;
  }
}
