package org.autocircuit.prune;

import java.util.Collection;
import java.util.Objects;
import org.autocircuit.PatchableModel;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.attribution.EdgeAttribution;
import org.autocircuit.attribution.MaskGradientResult;
import org.autocircuit.attribution.PointAttribution;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.graph.SrcModule;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.Stop;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.pass.Checkpoint;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.patch.Use;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/**
 * Adds up, over several points, gradients times the differences of patched and clean source
 * outputs. One of the points is the clean run, whose pass gives the differences as well; algorithms
 * differ in the others.
 */
abstract class GradientAttribution implements PromptAlgorithm, ResumableAlgorithm {

  /** So many tokens make good matrix products; points run at once up to that. */
  private static final long ENOUGH_TOKENS = 512;

  /** A batch, and what its points are made of. */
  record Batch(
      PatchableModel model,
      PromptPairBatch prompts,
      SourceActivations patch,
      Tensor differences,
      AnswerLoss loss) {

    /** The point of a plain run. */
    PointAttribution at(long[][] tokens) {
      return PointAttribution.of(ModelInput.ofPrompts(tokens, model.device()), differences, loss);
    }
  }

  /** Takes the points of a batch, one after another. */
  interface Points {

    /**
     * Takes points that run at once, whose mean gradient is added to the scores.
     *
     * @param weight of that mean
     * @param points how many they are
     */
    void add(PointAttribution point, double weight, int points);

    /**
     * Takes other scores of some edges than their gradients.
     *
     * @param ofPrompts {@code [batch, edges]}
     * @param points how many they count for
     */
    void replace(int[] edges, Tensor ofPrompts, int points);
  }

  private final GradFunction gradFunction;
  private final AnswerFunction answerFunction;
  private final Ablation ablation;
  private final CleanCorrupt patchInput;

  GradientAttribution(AttributionBuilder<?> builder) {
    gradFunction = builder.gradFunction;
    answerFunction = builder.answerFunction;
    ablation = builder.ablation;
    patchInput = builder.patchInput;
    PatchedBatches.requireUse(builder.settings, ablation);
  }

  /** Returns how many points each batch has, the clean run among them. */
  abstract int points(ModelGraph graph);

  /** Returns what the gradient at the clean run weighs. */
  abstract double cleanWeight();

  /** Visits the other points of a batch; all weights add up to 1 for each edge. */
  abstract void visit(Batch batch, Points points);

  @Override
  public String unit() {
    return gradFunction.unit();
  }

  @Override
  public ScoreSign sign() {
    return ScoreSign.SIGNED;
  }

  /**
   * Scores the edges of a model. Runs each batch on its clean prompts, at the last position.
   *
   * @param progress is told of each gradient: one for each batch and point
   * @param checkpoint is told of each batch
   * @throws StoppedException if it was stopped; has the {@code PruneScores} of the batches done
   */
  @Override
  public PruneScores pruneScores(
      PatchableModel model,
      Collection<? extends PromptPairBatch> batches,
      Progress progress,
      Checkpoint checkpoint) {
    BatchSums sums = new BatchSums(model.graph().nEdges(), batches.size(), checkpoint.state());
    Work work = new Work(model, batches, progress, /* perPrompt= */ false);
    try {
      work.run(
          batches,
          sums.batches(),
          (batch, scores) -> {
            sums.add(batch.size(), scores);
            checkpoint.reached(sums::state);
          });
    } catch (StoppedException e) {
      if (sums.prompts() > 0) {
        checkpoint.keep(sums.state());
        throw new StoppedException(e, PruneScores.wrap(model.graph(), sums.mean()));
      }
      throw e;
    }
    checkpoint.keep(sums.state());
    return PruneScores.wrap(model.graph(), sums.mean());
  }

  @Override
  public void scorePrompts(
      PatchableModel model,
      Collection<? extends PromptPairBatch> batches,
      Progress progress,
      PromptSink sink) {
    Objects.requireNonNull(sink, "sink");
    new Work(model, batches, progress, /* perPrompt= */ true)
        .run(batches, 0, (batch, scores) -> PatchedBatches.eachPrompt(batch, scores, sink));
  }

  /** Takes the scores of a batch: of each edge, or of each prompt and edge. */
  private interface BatchSink {
    void accept(PromptPairBatch batch, double[] scores);
  }

  /** One call. */
  private final class Work {

    private final PatchableModel model;
    private final ModelGraph graph;
    private final Progress progress;
    private final boolean perPrompt;
    private final long total;
    private long done;

    Work(
        PatchableModel model,
        Collection<? extends PromptPairBatch> batches,
        Progress progress,
        boolean perPrompt) {
      this.model = model;
      graph = model.graph();
      this.progress = Objects.requireNonNull(progress, "progress");
      this.perPrompt = perPrompt;
      total = (long) batches.size() * points(graph);
    }

    void run(Collection<? extends PromptPairBatch> batches, int from, BatchSink sink) {
      done = (long) from * points(graph);
      try (Use use = model.use()) {
        PatchedBatches.forEach(
            model,
            batches,
            ablation,
            patchInput,
            1,
            from,
            (batch, patch) -> sink.accept(batch, scores(batch, patch)));
      }
    }

    private double[] scores(PromptPairBatch prompts, SourceActivations patch) {
      int rows = perPrompt ? prompts.size() : 1;
      double[] scores = new double[Math.multiplyExact(rows, graph.nEdges())];
      AnswerLoss loss =
          AnswerLoss.of(gradFunction, answerFunction, prompts.answers(), prompts.wrongAnswers());
      try (CallScope scope = new CallScope()) {
        Stop.check();
        EdgeAttribution clean =
            EdgeAttribution.of(ModelInput.ofPrompts(prompts.clean(), model.device()), patch, loss)
                .withDifferences();
        MaskGradientResult atClean = model.maskGradient(perPrompt ? clean.withPerPrompt() : clean);
        add(atClean, cleanWeight(), scores);
        progress.report(++done, total);
        visit(
            new Batch(model, prompts, patch, atClean.differences().orElseThrow(), loss),
            new Points() {
              @Override
              public void add(PointAttribution point, double weight, int points) {
                Stop.check();
                try (CallScope ofPoint = new CallScope()) {
                  Work.this.add(
                      model.maskGradient(perPrompt ? point.withPerPrompt() : point),
                      weight,
                      scores);
                }
                done += points;
                progress.report(done, total);
              }

              @Override
              public void replace(int[] some, Tensor ofPrompts, int points) {
                Stop.check();
                Work.this.replace(some, ofPrompts, scores);
                done += points;
                progress.report(done, total);
              }
            });
      }
      return scores;
    }

    private void replace(int[] edges, Tensor ofPrompts, double[] scores) {
      model.precision().requireFinite("scores", ofPrompts);
      double[] values;
      try (CallScope scope = new CallScope()) {
        values = TensorArrays.doubles(perPrompt ? ofPrompts : ofPrompts.mean(0));
      }
      for (int i = 0; i < values.length; i++) {
        scores[i / edges.length * graph.nEdges() + edges[i % edges.length]] = values[i];
      }
    }

    private void add(MaskGradientResult result, double weight, double[] scores) {
      model.precision().requireFinite("logits", result.logits());
      model.precision().requireFinite("scores", result.gradient());
      double[] gradient;
      try (CallScope scope = new CallScope()) {
        gradient = TensorArrays.doubles(result.gradient());
      }
      for (int i = 0; i < scores.length; i++) {
        scores[i] += weight * gradient[i];
      }
    }
  }

  /**
   * Visits points where sources put out what lies on the line from the corrupt to the clean prompt:
   * {@code z' + k/m (z - z')} for k = 1, ..., m - 1. What is left, k = m, is the clean run.
   *
   * @param clean the point of the clean run
   * @param changed the sources that do
   * @param hookName where their sum passes
   */
  static void integrate(
      Batch batch, PointAttribution clean, SrcModule changed, String hookName, int m, Points each) {
    try (PointerScope scope = new PointerScope()) {
      Tensor toCorrupt =
          batch
              .differences()
              .narrow(0, changed.srcStart(), changed.srcStop() - changed.srcStart())
              .sum(0);
      long tokens = toCorrupt.size(0) * toCorrupt.size(1);
      int atOnce = Math.toIntExact(Math.max(1, Math.min(m - 1, ENOUGH_TOKENS / tokens)));
      for (int first = 1; first < m; first += atOnce) {
        int points = Math.min(atOnce, m - first);
        try (PointerScope ofPoints = new PointerScope()) {
          TensorVector added = new TensorVector();
          for (int k = first; k < first + points; k++) {
            added.push_back(toCorrupt.mul(new Scalar(1 - (double) k / m)));
          }
          each.add(clean.withAdded(hookName, torch.stack(added)), (double) points / m, points);
        }
      }
    }
  }
}
