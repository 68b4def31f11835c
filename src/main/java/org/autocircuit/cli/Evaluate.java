package org.autocircuit.cli;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import org.autocircuit.PatchableModel;
import org.autocircuit.eval.Evaluation;
import org.autocircuit.eval.FaithfulnessCurve;
import org.autocircuit.eval.PatchDirection;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.internal.JsonFiles;
import org.autocircuit.internal.StrictJson;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.PatchType;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.report.RecoveryCurve;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Says how good the circuits are that a file of scores picks. */
@Command(
    name = "evaluate",
    mixinStandardHelpOptions = true,
    versionProvider = Version.class,
    sortOptions = false,
    description = {
      "Runs the circuits of ten sizes that scores pick on prompts, and says how faithful they are to"
          + " the full model: 0 %% for none of what the edges do, 100 %% for all of it.",
      "CPR is the area under faithfulness over sizes, the more the better; CMD the area between it"
          + " and 1, the less the better (Mechanistic Interpretability Benchmark)."
    },
    footerHeading = "%nExamples:%n",
    footer = {
      "  autocircuit discover --output scores.json",
      "  autocircuit evaluate --scores scores.json",
      "  autocircuit evaluate --scores scores.json --ablation zero --metric logprob --signed",
      "  autocircuit evaluate --scores scores.json --patch-type edge --direction denoising",
      "  autocircuit evaluate --scores scores.json --ablation resample,zero --page page.html",
      "",
      "The options of the graph and of the prompts mean what they mean to 'autocircuit discover'; by",
      "default circuits run on the held-out half of the prompts."
    },
    exitCodeListHeading = "%nExit codes:%n",
    exitCodeList = {
      " 0:all went well",
      " 1:the model, the prompts or the scores could not be used, or the computation failed",
      " 2:wrong options",
      "130:stopped before the end, for instance by Ctrl-C"
    })
final class Evaluate implements Callable<Integer> {

  /** Says which edges are patched, as people type it. */
  private enum Patch {
    TREE(PatchType.TREE_PATCH),
    EDGE(PatchType.EDGE_PATCH);

    private final PatchType type;

    Patch(PatchType type) {
      this.type = type;
    }

    @Override
    public String toString() {
      return Names.typed(this);
    }
  }

  /** Says which prompts circuits run on, as people type it. */
  private enum Direction {
    NOISING(PatchDirection.NOISING),
    DENOISING(PatchDirection.DENOISING);

    private final PatchDirection direction;

    Direction(PatchDirection direction) {
      this.direction = direction;
    }

    @Override
    public String toString() {
      return Names.typed(this);
    }
  }

  /** Random circuits to average over, on a page. */
  private static final int DEFAULT_BASELINES = 3;

  /** Says how scores pick circuits where they are measured by their faithfulness. */
  static final String EXACT_SIZES =
      "Circuits have exactly these sizes: of edges whose scores are equal, those that come first in"
          + " the graph come in first.";

  @Spec private CommandSpec spec;

  @Option(
      names = {"-s", "--scores"},
      paramLabel = "FILE",
      required = true,
      description = "The scores, as 'autocircuit discover' writes them.")
  private Path scoresFile;

  @Mixin private ModelOptions modelOptions;

  @Mixin private PromptOptions promptOptions;

  @Mixin private GraphOptions graphOptions;

  @Option(
      names = "--per-position",
      description = "The scores are those of edges at each token position.")
  private boolean perPosition;

  @Option(
      names = "--ablation",
      paramLabel = "NAME",
      split = ",",
      defaultValue = "resample",
      converter = Names.OfAblation.class,
      description =
          "What edges are patched with: resample (the other prompt), zero, batch-tokenwise-mean,"
              + " batch-all-tok-mean, tokenwise-mean-clean, tokenwise-mean-corrupt or"
              + " tokenwise-mean-clean-and-corrupt. Several, with commas between, are measured one"
              + " after another. Default: ${DEFAULT-VALUE}.")
  private List<Ablation> ablations;

  @Option(
      names = "--patch-type",
      paramLabel = "TYPE",
      defaultValue = "tree",
      description =
          "tree: all but the circuit is patched; edge: the circuit is. Default: ${DEFAULT-VALUE}.")
  private Patch patch;

  @Option(
      names = "--direction",
      paramLabel = "DIRECTION",
      defaultValue = "noising",
      description =
          "noising: circuits run on clean prompts, and corrupt ones are patched in; denoising: the"
              + " other way round. Default: ${DEFAULT-VALUE}.")
  private Direction direction;

  @Option(
      names = "--metric",
      paramLabel = "METRIC",
      defaultValue = "logit",
      description =
          "In what answers are compared: ${COMPLETION-CANDIDATES}. Default: ${DEFAULT-VALUE}.")
  private Metric metric;

  @Option(
      names = "--signed",
      description =
          "Rank edges by their scores, not by the absolute values: those that work against the"
              + " answer come last.")
  private boolean signed;

  @Option(
      names = "--baselines",
      paramLabel = "N",
      description =
          "Yardsticks: N random circuits of each size, N random ones whose nodes have as many edges,"
              + " and the circuit of the largest weight norms. Default: 3 with --page, else none.")
  private Integer baselines;

  @Option(
      names = "--intervals",
      description =
          "Give faithfulness and areas intervals that hold 95 %% of what as many other prompts would"
              + " give (Poisson bootstrap).")
  private boolean intervals;

  @Option(
      names = "--json",
      paramLabel = "FILE",
      description = "Where the measures go, for programs.")
  private Path json;

  @Option(
      names = "--page",
      paramLabel = "FILE",
      description =
          "Where a page goes on which all of this can be explored in a browser: the curve, its"
              + " yardsticks, prompts one by one, the circuit of any size. It needs no network.")
  private Path page;

  @Mixin private Outputs outputs;

  @Mixin private CheckpointOption checkpoint;

  private PruneScores scores;

  @Override
  public Integer call() throws IOException {
    check();
    PrintWriter out = spec.commandLine().getOut();
    PrintWriter err = spec.commandLine().getErr();
    PromptedModel.use(
        modelOptions,
        promptOptions,
        graphOptions,
        perPosition,
        err,
        graph -> scores = ScoresFile.read(graph, scoresFile),
        (folder, model, prompts) -> {
          checkpoint.open(folder, prompts, outputs, List.of(scores));
          evaluate(folder, model, prompts, out, err);
        });
    checkpoint.finish();
    out.flush();
    return Main.OK;
  }

  private void check() throws IOException {
    if (ablations.stream().distinct().count() < ablations.size()) {
      throw new ParameterException(
          spec.commandLine(),
          "--ablation names one twice: "
              + ablations.stream().map(Names::typed).collect(Collectors.joining(",")));
    }
    if (baselines != null && baselines < 0) {
      throw new ParameterException(spec.commandLine(), "--baselines must be at least 0");
    }
    graphOptions.check();
    promptOptions.check(spec, modelOptions);
    ScoresFile.requireThere(scoresFile);
    outputs.keep("--scores", scoresFile);
    promptOptions.file().ifPresent(file -> outputs.keep("--prompts", file));
    checkpoint.check(outputs);
    if (json != null) {
      outputs.add("--json", json);
    }
    if (page != null) {
      outputs.add("--page", page);
    }
  }

  private void evaluate(
      ModelFolder folder, PatchableModel model, Prompts prompts, PrintWriter out, PrintWriter err)
      throws IOException {
    out.println(Wrap.fact("scores", scoresFile.toString()));
    out.println(Wrap.fact("prompts", prompts.describe()));
    DiscoveryPage explored = new DiscoveryPage(spec, folder, prompts).scores(scores, scoresFile);
    ObjectNode root = StrictJson.MAPPER.createObjectNode();
    root.put("format", "autocircuit-evaluation").put("version", 1);
    Discovery.addRun(root, RunFacts.of(spec));
    root.put("scores", scoresFile.toString()).put("ranking", signed ? "signed" : "absolute");
    ArrayNode evaluations = root.putArray("evaluations");
    for (Ablation ablation : ablations) {
      Evaluation evaluation =
          Evaluation.of(metric.ofPrompts(prompts.haveWrongAnswers()))
              .withPatchType(patch.type)
              .withAblation(ablation)
              .withDirection(direction.direction);
      String name = Names.typed(ablation);
      FaithfulnessCurve curve =
          measure(
              evaluation.withCheckpoint(checkpoint.part("circuits, " + name)),
              model,
              prompts,
              out,
              err);
      print(curve, out, err);
      Baselines.Measured yardsticks =
          yardsticks(
              evaluation.withCheckpoint(checkpoint.part("baselines, " + name)),
              model,
              prompts,
              curve,
              err);
      out.print(yardsticks.describe(curve));
      out.flush();
      add(evaluations.addObject(), ablation, curve, yardsticks);
      explored.curve(yardsticks.onto(RecoveryCurve.of(curve).withName(name)));
    }
    out.println();
    out.println(Wrap.lines(EXACT_SIZES, 80));
    if (json != null) {
      JsonFiles.write(json, root);
      outputs.wrote(json);
      out.println();
      out.println(Wrap.fact("json", json.toString()));
    }
    if (page != null) {
      explored.attention(model).write(page);
      outputs.wrote(page);
      out.println();
      out.println(Wrap.fact("page", page + " (to open in a browser)"));
    }
  }

  private FaithfulnessCurve measure(
      Evaluation evaluation,
      PatchableModel model,
      Prompts prompts,
      PrintWriter out,
      PrintWriter err) {
    try (PhaseProgress progress = PhaseProgress.of("circuits", err)) {
      return FaithfulnessCurve.measure(
          evaluation.withProgress(progress), model, prompts.testing(), scores, signed);
    } catch (StoppedException e) {
      e.partial(FaithfulnessCurve.class).ifPresent(done -> print(done, out, err));
      throw e;
    }
  }

  /** Measures what circuits are compared with; nothing if none is wanted, or the range is noise. */
  private Baselines.Measured yardsticks(
      Evaluation evaluation,
      PatchableModel model,
      Prompts prompts,
      FaithfulnessCurve curve,
      PrintWriter err) {
    int random = baselines != null ? baselines : page != null ? DEFAULT_BASELINES : 0;
    if (random == 0 || !curve.range().isClear()) {
      return Baselines.Measured.NONE;
    }
    try (PhaseProgress progress = PhaseProgress.of("baselines", err)) {
      return new Baselines(evaluation.withProgress(progress), model, prompts.testing(), random)
          .measure(curve, scores);
    }
  }

  private void print(FaithfulnessCurve curve, PrintWriter out, PrintWriter err) {
    Failures.warn(err, Shares.warnings(curve.range()));
    if (ablations.size() > 1) {
      out.println();
    }
    out.println(
        Wrap.fact(
            "measure",
            "%s, %s ranking".formatted(curve.conditions(), signed ? "signed" : "absolute")));
    out.println();
    CurvePart part = CurvePart.of(curve, intervals);
    out.print(part.table());
    out.println();
    out.println(part.areas());
    out.flush();
  }

  private void add(
      ObjectNode json, Ablation ablation, FaithfulnessCurve curve, Baselines.Measured yardsticks) {
    ObjectNode conditions = json.putObject("conditions");
    conditions.put("metric", curve.conditions().metric());
    conditions.put("patch_type", patch.toString()).put("ablation", Names.typed(ablation));
    conditions.put("direction", direction.toString()).put("prompts", curve.conditions().prompts());
    CurvePart.of(curve, intervals).addTo(json);
    yardsticks.addTo(json.putArray("baselines"));
  }
}
