package org.autocircuit.cli;

import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.Workspaces;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.eval.CircuitMeasures;
import org.autocircuit.eval.CircuitRuns;
import org.autocircuit.eval.Evaluation;
import org.autocircuit.eval.FaithfulnessCurve;
import org.autocircuit.eval.RocCurve;
import org.autocircuit.eval.ScoreSimilarity;
import org.autocircuit.internal.Figures;
import org.autocircuit.known.KnownModel;
import org.autocircuit.model.Model;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.PatchType;
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

  private final AlgorithmOptions options;
  private final PrintWriter out;
  private final PrintWriter err;

  MethodTable(AlgorithmOptions options, PrintWriter out, PrintWriter err) {
    this.options = options;
    this.out = out;
    this.err = err;
  }

  void print(PatchableModel model, Prompts prompts) {
    boolean wrongAnswers = prompts.haveWrongAnswers();
    Map<Method, Run> runs = new LinkedHashMap<>();
    for (Method method : Method.values()) {
      try (PhaseProgress progress = PhaseProgress.of(method.toString(), err)) {
        runs.put(method, run(method, model, prompts.finding(), wrongAnswers, progress));
      }
    }
    PruneScores exact = absolute(runs.get(Method.EXACT).scores());
    Evaluation evaluation =
        Evaluation.of(options.metric().ofPrompts(wrongAnswers)).withAblation(ablation());
    TextTable table = new TextTable().indent(2).left("method").right("CPR").right("CMD");
    for (double share : KL_SHARES) {
      table.right(String.format(Locale.ROOT, "KL %.0f %%", 100 * share));
    }
    table.right("rank corr.").right("forwards").right("gradients").right("seconds").right("MiB");
    try (PhaseProgress progress = PhaseProgress.of("circuits", err)) {
      int done = 0;
      for (Run run : runs.values()) {
        List<PromptPairBatch> testing = prompts.testing();
        boolean signed = run.sign() == ScoreSign.SIGNED;
        PruneScores scores = run.scores();
        FaithfulnessCurve ratio =
            FaithfulnessCurve.measure(evaluation, model, testing, scores, signed);
        FaithfulnessCurve distance =
            FaithfulnessCurve.measure(evaluation, model, testing, scores, false);
        List<String> cells = new ArrayList<>(List.of(run.method().toString()));
        cells.add(number(ratio.performanceRatio(), 4));
        cells.add(number(distance.modelDistance(), 4));
        for (double share : KL_SHARES) {
          cells.add(number(divergence(model, testing, scores, share), 4));
        }
        cells.add(number(ScoreSimilarity.spearman(absolute(scores), exact), 3));
        cells.add(String.format(Locale.ROOT, "%,d", run.passes().forwards()));
        cells.add(String.format(Locale.ROOT, "%,d", run.passes().gradients()));
        cells.add(number(run.nanos() / 1e9, 2));
        cells.add(number(run.peak() / MIB, 1));
        table.row(cells.toArray(String[]::new));
        progress.report(++done, runs.size());
      }
    }
    out.println();
    out.print(table);
    out.println();
    out.println(
        Wrap.lines(
            "Circuits on %s (%s, ablation %s). CPR by signed ranking where scores have signs; CMD"
                    .formatted(
                        prompts.describeTesting(),
                        options.metric().describe(wrongAnswers),
                        Names.typed(ablation()))
                + " and KL by absolute ranking. rank corr.: Spearman's, of absolute scores with exact ones."
                + " Sizes are exact: of edges whose scores are equal, those that come first in the graph"
                + " come in first. forwards: passes without gradient, of one edge or of all; gradients: a forward"
                + " and a backward each. MiB: the most that workspaces held.",
            80));
    out.println();
    out.flush();
    printKnown();
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

  private Run run(
      Method method,
      PatchableModel model,
      List<PromptPairBatch> batches,
      boolean wrongAnswers,
      Progress progress) {
    var algorithm = method.algorithm(options.settings(wrongAnswers));
    Workspaces.resetPeak();
    PruneScores[] scores = new PruneScores[1];
    long[] nanos = new long[1];
    PassCount passes =
        PassCount.of(
            () -> {
              long begin = System.nanoTime();
              scores[0] = algorithm.pruneScores(model, batches, progress);
              nanos[0] = System.nanoTime() - begin;
            });
    return new Run(method, algorithm.sign(), scores[0], passes, nanos[0], Workspaces.peakBytes());
  }

  private Ablation ablation() {
    return options.ablation().orElse(BatchAblation.RESAMPLE);
  }

  private double divergence(
      PatchableModel model, List<PromptPairBatch> batches, PruneScores scores, double share) {
    int size = Math.max(1, (int) (share * scores.size()));
    PruneScores circuit = PruneScores.ofCircuit(Circuits.top(scores, size, false));
    Map<Integer, CircuitMeasures> measured =
        CircuitRuns.builder(circuit)
            .sizes(List.of(size))
            .patchType(PatchType.TREE_PATCH)
            .ablation(ablation())
            .build()
            .measure(model, batches);
    return measured.values().iterator().next().klDivergence();
  }

  static PruneScores absolute(PruneScores scores) {
    return PruneScores.of(scores.graph(), Arrays.stream(scores.toArray()).map(Math::abs).toArray());
  }

  /** A number, or a dash where there is none. */
  static String number(double value, int decimals) {
    return Figures.orDash(value, Figures.fixed(value, decimals));
  }
}
