package org.autocircuit.cli;

import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import org.autocircuit.PatchableModel;
import org.autocircuit.eval.Evaluation;
import org.autocircuit.eval.FaithfulnessCurve;
import org.autocircuit.eval.ScoreSimilarity;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.AtomicFile;
import org.autocircuit.internal.Figures;
import org.autocircuit.internal.JsonFiles;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.prune.PruneAlgorithm;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.report.TextTable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** Puts scores of files or methods side by side. */
@Command(
    name = "compare",
    mixinStandardHelpOptions = true,
    versionProvider = Version.class,
    sortOptions = false,
    description = {
      "Compares scores of one model's edges, from files or from methods that are run now: how alike"
          + " their rankings are, and how faithful the circuits are that they pick.",
      "With --all-methods prints a table of every method: quality, cost, and on small models with"
          + " known circuits how well it finds them."
    },
    footerHeading = "%nExamples:%n",
    footer = {
      "  autocircuit compare --methods eap,eap-ig,exact --json compared.json",
      "  autocircuit compare scores.json --methods eap",
      "  autocircuit compare old.json new.json --model gpt2 --prompts pairs.json",
      "  autocircuit compare --all-methods --thresholds 0.001,0.01,0.1 --epochs 200"
    },
    exitCodeListHeading = "%nExit codes:%n",
    exitCodeList = {
      " 0:all went well",
      " 1:the model, the prompts or scores could not be used, or the computation failed",
      " 2:wrong options",
      "130:stopped before the end, for instance by Ctrl-C"
    })
final class Compare implements Callable<Integer> {

  private static final double[] OVERLAPS = {0.01, 0.05, 0.1, 0.2};

  @Spec private CommandSpec spec;

  @Parameters(
      arity = "0..*",
      paramLabel = "FILE",
      description = "Scores, as 'autocircuit discover' writes them.")
  private List<Path> files = new ArrayList<>();

  @Option(
      names = "--methods",
      paramLabel = "METHOD",
      split = ",",
      description = "Methods to run: ${COMPLETION-CANDIDATES}.")
  private List<Method> methods = new ArrayList<>();

  @Option(names = "--all-methods", description = "Print the table of every method.")
  private boolean allMethods;

  @Option(
      names = "--page",
      paramLabel = "FILE",
      description =
          "Where a page goes on which the circuits of the first scores and of any others can be seen"
              + " side by side in a browser. It needs no network.")
  private Path page;

  @Option(
      names = "--json",
      paramLabel = "FILE",
      description = "Where similarities and faithfulness go, for programs.")
  private Path json;

  @Mixin private Outputs outputs;

  @Mixin private CheckpointOption checkpoint;

  @Mixin private AlgorithmOptions algorithmOptions;

  @Mixin private ModelOptions modelOptions;

  @Mixin private PromptOptions promptOptions;

  @Mixin private GraphOptions graphOptions;

  private PrintWriter out;
  private PrintWriter err;
  private final Map<Path, PruneScores> ofFiles = new LinkedHashMap<>();
  private final List<String> names = new ArrayList<>();

  @Override
  public Integer call() throws IOException {
    check();
    out = spec.commandLine().getOut();
    err = spec.commandLine().getErr();
    PromptedModel.use(
        modelOptions,
        promptOptions,
        graphOptions,
        /* perPosition= */ false,
        err,
        this::readFiles,
        (folder, model, prompts) -> {
          checkpoint.open(folder, prompts, outputs, ofFiles.values());
          fact("model", folder.describe());
          fact("prompts", prompts.describe());
          if (allMethods) {
            new MethodTable(algorithmOptions, checkpoint, out, err).print(model, prompts);
          } else {
            compare(folder, model, prompts);
          }
        });
    checkpoint.finish();
    out.flush();
    return Main.OK;
  }

  private void check() throws IOException {
    Set<Method> different = new LinkedHashSet<>(methods);
    if (different.size() < methods.size()) {
      throw wrong("--methods names a method twice: " + methods);
    }
    if (allMethods && (!methods.isEmpty() || !files.isEmpty())) {
      throw wrong("--all-methods runs all methods; files and --methods have no effect with it");
    }
    if (allMethods && page != null) {
      throw wrong("--page has no effect with --all-methods, which prints a table alone");
    }
    if (allMethods && json != null) {
      throw wrong("--json has no effect with --all-methods, which prints a table alone");
    }
    if (!allMethods && files.size() + methods.size() < 2) {
      throw wrong("expected two or more files of scores or --methods to compare");
    }
    graphOptions.check();
    promptOptions.check(spec, modelOptions);
    // Faithfulness is measured by the metric, and with the ablation, of whatever scores there are.
    algorithmOptions.check(
        allMethods ? List.of(Method.values()) : methods, Set.of("--metric", "--ablation"));
    requireDifferentFiles();
    for (Path file : files) {
      ScoresFile.requireThere(file);
    }
    files.forEach(file -> outputs.keep("a file of scores", file));
    promptOptions.file().ifPresent(file -> outputs.keep("--prompts", file));
    checkpoint.check(outputs);
    if (page != null) {
      outputs.add("--page", page);
    }
    if (json != null) {
      outputs.add("--json", json);
    }
  }

  private void requireDifferentFiles() {
    Map<Path, Path> seen = new HashMap<>();
    for (Path file : files) {
      Path place = file.toAbsolutePath().normalize();
      try {
        place = AtomicFile.resolve(file);
      } catch (IOException e) {
        // Reading it will say so.
      }
      Path other = seen.putIfAbsent(place, file);
      if (other != null) {
        throw wrong(
            other.equals(file)
                ? "%s is named twice".formatted(file)
                : "%s is the file of %s, too".formatted(file, other));
      }
    }
  }

  private ParameterException wrong(String problem) {
    return new ParameterException(spec.commandLine(), problem);
  }

  private void readFiles(ModelGraph graph) throws IOException {
    for (Path file : files) {
      ofFiles.put(file, ScoresFile.read(graph, file));
    }
  }

  private void compare(ModelFolder folder, PatchableModel model, Prompts prompts)
      throws IOException {
    DiscoveryPage explored = new DiscoveryPage(spec, folder, prompts);
    Map<String, PruneScores> scores = new LinkedHashMap<>();
    ofFiles.forEach(
        (file, read) -> {
          add(scores, file.toString(), read);
          explored.scores(read, file);
        });
    AlgorithmSettings settings = algorithmOptions.settings(prompts.haveWrongAnswers());
    for (Method method : methods) {
      PruneAlgorithm algorithm = method.algorithm(settings);
      try (PhaseProgress progress = PhaseProgress.of(method.toString(), err)) {
        String name = "%s (%s)".formatted(method, algorithm.name());
        PruneScores found =
            checkpoint.scores(method.toString(), algorithm, model, prompts.finding(), progress);
        add(scores, name, found);
        explored.scores(found, algorithm, method.meaning(algorithm, settings, found));
      }
    }
    if (page != null) {
      explored.write(page);
      outputs.wrote(page);
      fact("page", page + " (to open in a browser)");
    }
    out.println();
    out.println("How alike the rankings are, by absolute scores");
    out.println();
    out.print(alike(List.copyOf(scores.values())));
    out.println();
    out.println(
        Wrap.lines(
            "overlap: the share of edges that the circuits of one size have in common; - where"
                + " scores are equal, so that they pick no circuit of that size. rank corr.: - where"
                + " a score is no number, or all are equal.",
            80));
    out.println();
    out.flush();
    List<FaithfulnessCurve> curves = faithfulness(model, prompts, List.copyOf(scores.values()));
    if (json != null) {
      JsonFiles.write(
          json,
          new ComparedScores(RunFacts.of(spec), names, List.copyOf(scores.values()), curves)
              .json(OVERLAPS));
      outputs.wrote(json);
      out.println();
      fact("json", json.toString());
    }
  }

  private void add(Map<String, PruneScores> scores, String name, PruneScores added) {
    fact(letter(scores.size()), name);
    names.add(name);
    scores.put(letter(scores.size()), added);
  }

  private static String letter(int number) {
    return number < 26 ? String.valueOf((char) ('A' + number)) : "S" + number;
  }

  private static TextTable alike(List<PruneScores> scores) {
    int nEdges = scores.get(0).size();
    TextTable table = new TextTable().indent(2).left("").right("rank corr.");
    for (double share : OVERLAPS) {
      table.right(String.format(Locale.ROOT, "overlap at %,d", Circuits.size(nEdges, share)));
    }
    for (int a = 0; a < scores.size(); a++) {
      for (int b = a + 1; b < scores.size(); b++) {
        PruneScores some = MethodTable.absolute(scores.get(a));
        PruneScores others = MethodTable.absolute(scores.get(b));
        List<String> cells = new ArrayList<>(List.of(letter(a) + " and " + letter(b)));
        cells.add(MethodTable.number(ScoreSimilarity.spearman(some, others), 3));
        for (double share : OVERLAPS) {
          double overlap = ScoreSimilarity.overlap(some, others, Circuits.size(nEdges, share));
          cells.add(Figures.orDash(overlap, Figures.percent(overlap, 0)));
        }
        table.row(cells.toArray(String[]::new));
      }
    }
    return table;
  }

  private List<FaithfulnessCurve> faithfulness(
      PatchableModel model, Prompts prompts, List<PruneScores> scores) {
    List<FaithfulnessCurve> curves = new ArrayList<>();
    for (PruneScores each : scores) {
      String part = "circuits of " + letter(curves.size());
      try (PhaseProgress progress = PhaseProgress.of("circuits", err)) {
        curves.add(
            FaithfulnessCurve.measure(
                Evaluation.of(algorithmOptions.metric().ofPrompts(prompts.haveWrongAnswers()))
                    .withAblation(algorithmOptions.ablation().orElse(BatchAblation.RESAMPLE))
                    .withProgress(progress)
                    .withCheckpoint(checkpoint.part(part)),
                model,
                prompts.testing(),
                each,
                false));
      }
    }
    Failures.warn(err, Shares.warnings(curves.get(0).range()));
    out.println("Faithfulness on " + prompts.describeTesting());
    out.println(Wrap.lines("(" + curves.get(0).conditions() + ", absolute ranking)", 80));
    out.println();
    TextTable table = new TextTable().indent(2).right("edges").right("share");
    for (int i = 0; i < scores.size(); i++) {
      table.right(letter(i));
    }
    for (int point = 0; point < FaithfulnessCurve.SHARES.size(); point++) {
      FaithfulnessCurve.Point first = curves.get(0).points().get(point);
      List<String> cells = new ArrayList<>();
      cells.add(String.format(Locale.ROOT, "%,d", first.values().edges()));
      cells.add(Figures.percent(first.share(), 1));
      for (FaithfulnessCurve curve : curves) {
        cells.add(Shares.faithfulness(curve, curve.points().get(point)));
      }
      table.row(cells.toArray(String[]::new));
    }
    List<String> ratios = new ArrayList<>(List.of("CPR", ""));
    List<String> distances = new ArrayList<>(List.of("CMD", ""));
    for (FaithfulnessCurve curve : curves) {
      ratios.add(Shares.performanceRatio(curve));
      distances.add(Shares.modelDistance(curve));
    }
    table.row(ratios.toArray(String[]::new));
    table.row(distances.toArray(String[]::new));
    out.print(table);
    out.println();
    out.println(Wrap.lines(Evaluate.EXACT_SIZES, 80));
    return curves;
  }

  private void fact(String name, String value) {
    out.println(Wrap.fact(name, value));
  }
}
