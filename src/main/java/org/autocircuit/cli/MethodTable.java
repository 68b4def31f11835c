package org.autocircuit.cli;

import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.Workspaces;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.eval.Evaluation;
import org.autocircuit.eval.FaithfulnessCurve;
import org.autocircuit.eval.RocCurve;
import org.autocircuit.eval.ScoreSimilarity;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.internal.Figures;
import org.autocircuit.internal.StateReader;
import org.autocircuit.internal.StateWriter;
import org.autocircuit.known.KnownModel;
import org.autocircuit.model.Model;
import org.autocircuit.pass.Checkpoint;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.ScoreSign;
import org.autocircuit.report.TextTable;

/** The table of every method: quality and cost on a model, areas on models with known circuits. */
final class MethodTable {

  private static final double[] KL_SHARES = {0.05, 0.1, 0.2};
  private static final double MIB = 1 << 20;

  /** The results of one method, and its costs. */
  private record Run(
      Method method, ScoreSign sign, PruneScores scores, PassCount passes, long nanos, long peak) {}

  /** The faithfulness of one method's circuits, by signed ranking where scores have signs. */
  private record Curves(FaithfulnessCurve signed, FaithfulnessCurve absolute) {

    double divergence(double share) {
      return absolute.points().stream()
          .filter(point -> point.share() == share)
          .mapToDouble(point -> point.measures().klDivergence())
          .findFirst()
          .orElse(Double.NaN);
    }
  }

  private final AlgorithmOptions options;
  private final CheckpointOption checkpoint;
  private final PrintWriter out;
  private final PrintWriter err;

  MethodTable(
      AlgorithmOptions options, CheckpointOption checkpoint, PrintWriter out, PrintWriter err) {
    this.options = options;
    this.checkpoint = checkpoint;
    this.out = out;
    this.err = err;
  }

  void print(PatchableModel model, Prompts prompts) {
    Map<Method, Run> runs = new LinkedHashMap<>();
    Map<Method, Curves> curves = new LinkedHashMap<>();
    try {
      for (Method method : Method.values()) {
        try (PhaseProgress progress = PhaseProgress.of(method.toString(), err)) {
          runs.put(method, run(method, model, prompts, progress));
        }
      }
      measure(model, prompts, runs.values(), curves);
    } catch (StoppedException e) {
      print(runs, curves, prompts);
      throw e;
    }
    Failures.warn(err, Shares.warnings(curves.get(Method.EXACT).absolute().range()));
    print(runs, curves, prompts);
    printKnown();
  }

  private void measure(
      PatchableModel model, Prompts prompts, Collection<Run> runs, Map<Method, Curves> curves) {
    Evaluation evaluation =
        Evaluation.of(options.metric().ofPrompts(prompts.haveWrongAnswers()))
            .withAblation(ablation());
    try (PhaseProgress progress = PhaseProgress.of("circuits", err)) {
      for (Run run : runs) {
        FaithfulnessCurve absolute = curve(evaluation, model, prompts, run, false);
        FaithfulnessCurve signed =
            run.sign() == ScoreSign.SIGNED
                ? curve(evaluation, model, prompts, run, true)
                : absolute;
        curves.put(run.method(), new Curves(signed, absolute));
        progress.report(curves.size(), runs.size());
      }
    }
  }

  private FaithfulnessCurve curve(
      Evaluation evaluation, PatchableModel model, Prompts prompts, Run run, boolean signed) {
    String part = "circuits of %s, %s".formatted(run.method(), signed ? "signed" : "absolute");
    return FaithfulnessCurve.measure(
        evaluation.withCheckpoint(checkpoint.part(part)),
        model,
        prompts.testing(),
        run.scores(),
        signed);
  }

  /** Prints a row for each method that ran, with dashes for what was not measured. */
  private void print(Map<Method, Run> runs, Map<Method, Curves> curves, Prompts prompts) {
    TextTable table = new TextTable().indent(2).left("method").right("CPR").right("CMD");
    for (double share : KL_SHARES) {
      table.right("KL " + Figures.percent(share, 0));
    }
    table.right("rank corr.").right("forwards").right("gradients").right("seconds").right("MiB");
    for (Run run : runs.values()) {
      Curves of = curves.get(run.method());
      List<String> cells = new ArrayList<>(List.of(run.method().toString()));
      cells.add(of == null ? "-" : Shares.performanceRatio(of.signed()));
      cells.add(of == null ? "-" : Shares.modelDistance(of.absolute()));
      for (double share : KL_SHARES) {
        cells.add(of == null ? "-" : number(of.divergence(share), 4));
      }
      double correlation =
          runs.containsKey(Method.EXACT)
              ? ScoreSimilarity.spearman(
                  absolute(run.scores()), absolute(runs.get(Method.EXACT).scores()))
              : Double.NaN;
      cells.add(number(correlation, 3));
      cells.add(String.format(Locale.ROOT, "%,d", run.passes().forwards()));
      cells.add(String.format(Locale.ROOT, "%,d", run.passes().gradients()));
      cells.add(number(run.nanos() / 1e9, 2));
      cells.add(number(run.peak() / MIB, 1));
      table.row(cells.toArray(String[]::new));
    }
    out.println();
    out.print(table);
    out.println();
    out.println(
        Wrap.lines(
            "Circuits on %s (%s, ablation %s). CPR by signed ranking where scores have signs; CMD"
                    .formatted(
                        prompts.describeTesting(),
                        options.metric().describe(prompts.haveWrongAnswers()),
                        Names.typed(ablation()))
                + " and KL by absolute ranking. rank corr.: Spearman's, of absolute scores with exact ones."
                + " Sizes are exact: of edges whose scores are equal, those that come first in the graph"
                + " come in first. forwards: passes without gradient, of one edge or of all; gradients: a forward"
                + " and a backward each. MiB: the most that workspaces held.",
            80));
    out.println();
    out.flush();
  }

  private void printKnown() {
    TextTable table = new TextTable().indent(2).left("method");
    List<KnownModel> all = KnownModel.all();
    for (KnownModel known : all) {
      table.right(known.toString().replace(" (", ", ").replace(")", ""));
    }
    Map<Method, List<String>> rows = new LinkedHashMap<>();
    try (PhaseProgress progress = PhaseProgress.of("known models", err)) {
      int done = 0;
      for (KnownModel known : all) {
        try (Model plain = known.model();
            PatchableModel model = PatchableModel.of(plain, PatchableModelOptions.defaults())) {
          List<PromptPairBatch> batches = known.batches(known.prompts());
          for (Method method : Method.values()) {
            PruneScores scores =
                method.algorithm(options.settings(true)).pruneScores(model, batches, Progress.NONE);
            double area = RocCurve.of(scores, known.truth(model.graph())).area();
            rows.computeIfAbsent(method, m -> new ArrayList<>(List.of(m.toString())))
                .add(number(area, 2));
            progress.report(++done, (long) all.size() * Method.values().length);
          }
        }
      }
    }
    rows.values().forEach(cells -> table.row(cells.toArray(String[]::new)));
    out.println("Models whose circuits are known: area under the curve against the truth");
    out.println();
    out.print(table);
  }

  /** Runs a method as a whole, since its costs are measured, or takes over what it gave. */
  private Run run(Method method, PatchableModel model, Prompts prompts, Progress progress) {
    var algorithm = method.algorithm(options.settings(prompts.haveWrongAnswers()));
    Checkpoint kept = checkpoint.part(method.toString());
    if (kept.state().isPresent()) {
      StateReader state = new StateReader(kept.state().get());
      PassCount passes = new PassCount((long) state.next(), (long) state.next());
      long nanos = (long) state.next();
      long peak = (long) state.next();
      double[] scores = state.next(model.graph().nEdges());
      return new Run(
          method, algorithm.sign(), PruneScores.of(model.graph(), scores), passes, nanos, peak);
    }
    Workspaces.resetPeak();
    PruneScores[] scores = new PruneScores[1];
    long[] nanos = new long[1];
    PassCount passes =
        PassCount.of(
            () -> {
              long begin = System.nanoTime();
              scores[0] = algorithm.pruneScores(model, prompts.finding(), progress);
              nanos[0] = System.nanoTime() - begin;
            });
    long peak = Workspaces.peakBytes();
    kept.keep(
        new StateWriter()
            .add(passes.forwards())
            .add(passes.gradients())
            .add(nanos[0])
            .add(peak)
            .add(scores[0].toArray())
            .toArray());
    return new Run(method, algorithm.sign(), scores[0], passes, nanos[0], peak);
  }

  private Ablation ablation() {
    return options.ablation().orElse(BatchAblation.RESAMPLE);
  }

  static PruneScores absolute(PruneScores scores) {
    return PruneScores.of(scores.graph(), Arrays.stream(scores.toArray()).map(Math::abs).toArray());
  }

  /** A number, or a dash where there is none. */
  static String number(double value, int decimals) {
    return Figures.orDash(value, Figures.fixed(value, decimals));
  }
}
