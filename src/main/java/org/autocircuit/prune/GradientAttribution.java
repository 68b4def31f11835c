package org.autocircuit.prune;

import java.util.Arrays;
import java.util.Collection;
import java.util.Objects;
import org.autocircuit.PatchableModel;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.attribution.MaskGradientResult;
import org.autocircuit.attribution.PointAttribution;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.graph.DestModule;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.graph.SrcModule;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.Stop;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.patch.Use;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * Adds up, over several points, gradients times the differences of patched and clean source
 * outputs. Algorithms differ in their points.
 */
abstract class GradientAttribution implements PromptAlgorithm {

  /** A batch, and what its points are made of. */
  record Batch(
      PatchableModel model,
      PromptPairBatch prompts,
      SourceActivations patch,
      SourceActivations clean,
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
     * Takes a point, whose gradient is added to the scores.
     *
     * @param weight of its gradient
     * @param sources whose edges get it
     */
    void add(PointAttribution point, double weight, SrcModule sources);

    /**
     * Takes other scores of some edges than their gradients.
     *
     * @param ofPrompts {@code [batch, edges]}
     */
    void replace(int[] edges, Tensor ofPrompts);
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

  /** Returns how many points each batch has. */
  abstract int points(ModelGraph graph);

  /** Visits the points of a batch; their weights add up to 1 for each edge. */
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
   * @throws StoppedException if it was stopped; has the {@code PruneScores} of the batches done
   */
  @Override
  public PruneScores pruneScores(
      PatchableModel model, Collection<? extends PromptPairBatch> batches, Progress progress) {
    int edges = model.graph().nEdges();
    double[] sum = new double[edges];
    int[] prompts = {0};
    BatchSink adding =
        (batch, scores) -> {
          for (int i = 0; i < edges; i++) {
            sum[i] += batch.size() * scores[i];
          }
          prompts[0] += batch.size();
        };
    try {
      new Work(model, batches, progress, /* perPrompt= */ false).run(batches, adding);
    } catch (StoppedException e) {
      throw new StoppedException(e, prompts[0] == 0 ? null : mean(model, sum, prompts[0]));
    }
    return mean(model, sum, prompts[0]);
  }

  private static PruneScores mean(PatchableModel model, double[] sum, int prompts) {
    return PruneScores.of(model.graph(), Arrays.stream(sum).map(s -> s / prompts).toArray());
  }

  @Override
  public void scorePrompts(
      PatchableModel model,
      Collection<? extends PromptPairBatch> batches,
      Progress progress,
      PromptSink sink) {
    Objects.requireNonNull(sink, "sink");
    new Work(model, batches, progress, /* perPrompt= */ true)
        .run(batches, (batch, scores) -> PatchedBatches.eachPrompt(batch, scores, sink));
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

    void run(Collection<? extends PromptPairBatch> batches, BatchSink sink) {
      try (Use use = model.use()) {
        PatchedBatches.forEach(
            model,
            batches,
            ablation,
            patchInput,
            (batch, patch) -> sink.accept(batch, scores(batch, patch)));
      }
    }

    private double[] scores(PromptPairBatch prompts, SourceActivations patch) {
      int rows = perPrompt ? prompts.size() : 1;
      double[] scores = new double[Math.multiplyExact(rows, graph.nEdges())];
      AnswerLoss loss =
          AnswerLoss.of(gradFunction, answerFunction, prompts.answers(), prompts.wrongAnswers());
      try (CallScope scope = new CallScope();
          SourceActivations clean =
              model.sourceAblations(prompts.clean(), BatchAblation.RESAMPLE)) {
        Tensor differences = patch.tensor().sub(clean.tensor());
        visit(
            new Batch(model, prompts, patch, clean, differences, loss),
            new Points() {
              @Override
              public void add(PointAttribution point, double weight, SrcModule sources) {
                Stop.check();
                Work.this.add(point, weight, sources, scores);
                progress.report(++done, total);
              }

              @Override
              public void replace(int[] some, Tensor ofPrompts) {
                Stop.check();
                Work.this.replace(some, ofPrompts, scores);
                progress.report(++done, total);
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

    private void add(PointAttribution point, double weight, SrcModule sources, double[] scores) {
      double[] gradient;
      try (CallScope scope = new CallScope()) {
        MaskGradientResult result = model.maskGradient(perPrompt ? point.withPerPrompt() : point);
        model.precision().requireFinite("logits", result.logits());
        model.precision().requireFinite("scores", result.gradient());
        gradient = TensorArrays.doubles(result.gradient());
      }
      for (DestModule module : graph.destModules()) {
        for (int edge = module.offset(); edge < module.end(); edge++) {
          if (isOf(sources, module.srcIdx(edge))) {
            for (int i = edge; i < scores.length; i += graph.nEdges()) {
              scores[i] += weight * gradient[i];
            }
          }
        }
      }
    }
  }

  private static boolean isOf(SrcModule module, int src) {
    return module.srcStart() <= src && src < module.srcStop();
  }

  /**
   * Visits points where sources put out what lies on the line from the corrupt to the clean prompt:
   * {@code z' + k/m (z - z')} for k = 1, ..., m.
   *
   * @param changed the sources that do
   * @param hookName where their sum passes
   * @param scored the sources whose edges get the mean of the gradients
   */
  static void integrate(
      Batch batch, SrcModule changed, String hookName, SrcModule scored, int m, Points each) {
    try (PointerScope scope = new PointerScope()) {
      Tensor toCorrupt =
          batch
              .differences()
              .narrow(0, changed.srcStart(), changed.srcStop() - changed.srcStart())
              .sum(0);
      PointAttribution clean = batch.at(batch.prompts().clean());
      for (int k = 1; k <= m; k++) {
        try (PointerScope ofPoint = new PointerScope()) {
          Tensor added = toCorrupt.mul(new Scalar(1 - (double) k / m));
          each.add(clean.withAdded(hookName, added), 1.0 / m, scored);
        }
      }
    }
  }

  /** Returns all sources as if they were one module. */
  static SrcModule allSources(ModelGraph graph) {
    return new SrcModule("all", 0, graph.srcs().size());
  }
}
