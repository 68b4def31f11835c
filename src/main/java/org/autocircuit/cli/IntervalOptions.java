package org.autocircuit.cli;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.PrintWriter;
import java.util.List;
import java.util.Locale;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.Figures;
import org.autocircuit.pass.Progress;
import org.autocircuit.prune.BootstrapScores;
import org.autocircuit.prune.PromptAlgorithm;
import org.autocircuit.prune.PruneAlgorithm;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.ScoreStatistics;
import org.autocircuit.prune.ScoredEdge;
import org.autocircuit.report.TextTable;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Says how far scores would differ with other prompts of the kind. A mixin of a command. */
final class IntervalOptions {

  /** Replicates of the bootstrap. */
  static final int REPLICATES = 1000;

  private static final int FEWEST = 100;
  private static final long MEMORY = 512L << 20;
  private static final double LOW = 0.025;
  private static final double HIGH = 0.975;

  @Spec(Spec.Target.MIXEE)
  private CommandSpec spec;

  @Option(
      names = "--intervals",
      description =
          "Give scores standard errors and intervals that hold 95 %% of what as many other prompts"
              + " would give (Poisson bootstrap). Needs more memory: scores of each prompt.")
  private boolean intervals;

  private ScoreStatistics statistics;
  private PruneScores errors;
  private PruneScores low;
  private PruneScores high;
  private int replicates;

  /** Refuses methods whose scores are no means over prompts. */
  void check(Method method) {
    if (!intervals) {
      return;
    }
    if (!method.scoresPrompts()) {
      throw new ParameterException(
          spec.commandLine(),
          "--intervals has no effect with %s, whose scores are no means of each prompt's"
              .formatted(method));
    }
    if (spec.commandLine().getParseResult().hasMatchedOption("--checkpoint")) {
      throw new ParameterException(
          spec.commandLine(),
          "--checkpoint keeps no scores of single prompts, which --intervals is made of");
    }
  }

  /** Returns whether they were asked for. */
  boolean isGiven() {
    return intervals;
  }

  /** Scores edges prompt by prompt. */
  PruneScores scores(
      PruneAlgorithm algorithm,
      PatchableModel model,
      List<PromptPairBatch> batches,
      long seed,
      Progress progress) {
    ModelGraph graph = model.graph();
    replicates = (int) Math.min(REPLICATES, MEMORY / Double.BYTES / graph.nEdges());
    if (replicates < FEWEST) {
      throw new IllegalArgumentException(
          "--intervals: %s are too many for %s replicates in %s MiB"
              .formatted(Figures.count(graph.nEdges(), "edge"), FEWEST, MEMORY >> 20));
    }
    statistics = new ScoreStatistics(graph);
    BootstrapScores bootstrap = new BootstrapScores(graph, replicates, seed, MEMORY);
    ((PromptAlgorithm) algorithm)
        .scorePrompts(
            model,
            batches,
            progress,
            (pair, scores) -> {
              statistics.accept(pair, scores);
              bootstrap.accept(pair, scores);
            });
    errors = statistics.standardError();
    low = bootstrap.quantile(LOW);
    high = bootstrap.quantile(HIGH);
    return statistics.mean();
  }

  /** Prints them for some edges, and how many of all edges are clearly not 0. */
  void print(PrintWriter out, List<ScoredEdge> edges) {
    if (!intervals) {
      return;
    }
    TextTable table =
        new TextTable()
            .indent(2)
            .left("edge")
            .right("score")
            .right("± s.e.")
            .right("from")
            .right("to");
    for (ScoredEdge scored : edges) {
      int edge = low.graph().index(scored.edge());
      table.row(
          scored.edge().label()
              + (scored.edge().position().isPresent()
                  ? "@" + scored.edge().position().getAsInt()
                  : ""),
          number(scored.score()),
          number(errors.get(edge)),
          number(low.get(edge)),
          number(high.get(edge)));
    }
    long clear = 0;
    for (int edge = 0; edge < low.size(); edge++) {
      clear += low.get(edge) > 0 || high.get(edge) < 0 ? 1 : 0;
    }
    out.print(table);
    out.println();
    out.println(
        Wrap.lines(
            String.format(
                Locale.ROOT,
                "from, to: 95 %% of %,d bootstrap replicates of %s. Of %s %,d have such an interval"
                    + " without 0.",
                replicates,
                Figures.count(statistics.prompts(), "prompt"),
                Figures.count(low.size(), "edge"),
                clear),
            80));
    out.println();
  }

  private static String number(double value) {
    return Figures.orDash(
        value,
        String.format(Locale.ROOT, Math.abs(value) >= 1e-3 || value == 0 ? "%.4f" : "%.2e", value));
  }

  /** Adds those of all edges. */
  void addTo(ObjectNode root) {
    if (!intervals) {
      return;
    }
    ObjectNode json = root.putObject("intervals");
    json.put("method", "Poisson bootstrap").put("share", HIGH - LOW);
    json.put("replicates", replicates).put("prompts", statistics.prompts());
    ObjectNode edges = json.putObject("edges");
    for (int edge = 0; edge < low.size(); edge++) {
      ObjectNode of = edges.putObject(Discovery.plain(low, edge));
      Discovery.put(of, "standard_error", errors.get(edge));
      Discovery.put(of, "low", low.get(edge));
      Discovery.put(of, "high", high.get(edge));
    }
  }
}
