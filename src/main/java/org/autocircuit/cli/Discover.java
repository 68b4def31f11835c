package org.autocircuit.cli;

import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.function.IntFunction;
import org.autocircuit.PatchableModel;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.Figures;
import org.autocircuit.internal.VisibleText;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.prune.PruneAlgorithm;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.PruneScoresJson;
import org.autocircuit.prune.VerifiedScores;
import org.autocircuit.report.ScoreTable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Finds a circuit by the scores of an algorithm, and compares it with the model. */
@Command(
    name = "discover",
    mixinStandardHelpOptions = true,
    versionProvider = Version.class,
    sortOptions = false,
    description = {
      "Finds the circuit that does a task: scores every edge of the model by integrated gradients"
          + " or another method, verifies some of the scores by patching those edges exactly, then"
          + " runs circuits of the best edges alone and compares them with the full model and with"
          + " random circuits.",
      "Without options it does so for the model and the prompts that come with the program."
    },
    footerHeading = "%nExamples:%n",
    footer = {
      "  autocircuit discover",
      "  autocircuit discover --page page.html --overwrite",
      "  autocircuit discover --picture circuit.svg --json discovery.json --overwrite",
      "  autocircuit discover --method exact --checkpoint run.checkpoint --overwrite",
      "  autocircuit discover --method acdc --thresholds 0.001,0.01,0.1 --overwrite",
      "  autocircuit discover --model gpt2 --prompts pairs.json --sizes 1,5,25 -o gpt2.json",
      "",
      "A prompt file is JSON: {\"prompts\": [{\"clean\": \"...\", \"corrupt\": \"...\",",
      "\"answers\": [\" Mary\"], \"wrong_answers\": [\" John\"]}, ...]}. A clean prompt and its",
      "corrupt one must have the same number of tokens; an answer is the one token that continues",
      "both. Prompts may be arrays of token ids, answers token ids or a token as the vocabulary",
      "spells it: {\"token\": \"\u2581s\"}."
    },
    exitCodeListHeading = "%nExit codes:%n",
    exitCodeList = {
      " 0:all went well",
      " 1:the model or the prompts could not be used, or the computation failed",
      " 2:wrong options",
      "130:stopped before the end, for instance by Ctrl-C"
    })
final class Discover implements Callable<Integer> {

  /** The file of the scores if nothing else is said. */
  static final String SCORES = "autocircuit-scores.json";

  @Spec private CommandSpec spec;

  @Mixin private ModelOptions modelOptions;

  @Mixin private PromptOptions promptOptions;

  @Mixin private GraphOptions graphOptions;

  @Mixin private SizeOptions sizeOptions;

  @Option(
      names = "--method",
      paramLabel = "METHOD",
      defaultValue = "eap-ig",
      description =
          "What scores the edges: ${COMPLETION-CANDIDATES}. eap: gradients at the clean prompts;"
              + " eap-ig, eap-ig-activations, mask-ig: integrated over inputs, activations, masks;"
              + " exact: patches each edge. Default: ${DEFAULT-VALUE}.")
  private Method method;

  @Mixin private AlgorithmOptions algorithmOptions;

  @Option(
      names = "--budget",
      paramLabel = "SECONDS",
      description =
          "Time for verification: patches the 20 best edges by estimate and 40 random ones, as many"
              + " of them as the time is enough for; 0 for none. Default: as long as the attribution"
              + " took, at least 2 seconds.")
  private Double budget;

  @Option(
      names = "--per-position",
      description = "An edge for each token position; all prompts must be equally long.")
  private boolean perPosition;

  @Option(
      names = "--random",
      paramLabel = "N",
      defaultValue = "3",
      description = "Random circuits of each size to average over. Default: ${DEFAULT-VALUE}.")
  private int random;

  @Option(
      names = "--top",
      paramLabel = "N",
      defaultValue = "15",
      description = "Number of edges to print. Default: ${DEFAULT-VALUE}.")
  private int top;

  @Option(
      names = {"-o", "--output"},
      paramLabel = "FILE",
      defaultValue = SCORES,
      description = "Where the scores of all edges go, as JSON. Default: ${DEFAULT-VALUE}.")
  private Path output;

  @Option(
      names = "--json",
      paramLabel = "FILE",
      description = "Where all that is found goes, for programs: scores, verification, measures.")
  private Path json;

  @Option(
      names = "--page",
      paramLabel = "FILE",
      description =
          "Where a page goes on which all of this can be explored in a browser: the circuit of any"
              + " size, nodes, edges, heads, prompts. It needs no network. Methods by gradients then"
              + " score each prompt, too, for standard errors: attribution takes twice as long.")
  private Path page;

  @Mixin private PictureOptions pictureOptions;

  @Mixin private Outputs outputs;

  @Mixin private CheckpointOption checkpoint;

  @Mixin private IntervalOptions intervals;

  private PrintWriter out;
  private PrintWriter err;
  private Phases phases;
  private List<Integer> sizes;

  @Override
  public Integer call() throws IOException {
    checkOptions();
    out = spec.commandLine().getOut();
    err = spec.commandLine().getErr();
    phases = new Phases();
    PromptedModel.use(
        modelOptions,
        promptOptions,
        graphOptions,
        perPosition,
        err,
        graph -> sizes = sizes(graph),
        (folder, model, prompts) -> {
          phases.end("loading");
          checkpoint.open(folder, prompts, outputs, List.of());
          discover(folder, model, prompts);
        });
    checkpoint.finish();
    out.flush();
    return Main.OK;
  }

  private void discover(ModelFolder folder, PatchableModel model, Prompts prompts)
      throws IOException {
    ModelGraph graph = model.graph();
    fact("model", "%s", folder.describe());
    fact(
        "graph",
        "%,d edges from %,d sources to %,d destinations",
        graph.nEdges(),
        graph.srcs().size(),
        graph.dests().size());
    fact("prompts", "%s", prompts.describe());
    out.println();
    out.flush();

    Failures.warn(err, Spellings.warnings(model, prompts.tokens(), folder.tokenizer()));
    IntFunction<String> labels = prompts.labels(folder.tokenizer());
    AlgorithmSettings settings = algorithmOptions.settings(prompts.haveWrongAnswers());
    PruneAlgorithm algorithm = method.algorithm(settings);
    long begin = System.nanoTime();
    PruneScores scores = attribute(algorithm, model, prompts);
    long nanos = System.nanoTime() - begin;
    phases.end("attribution");
    // At once: whatever becomes of the circuits, the scores are there.
    write(scores, labels);
    scores.requireDifferent();
    out.println();
    print("%s, of %,d", best(Math.min(top, scores.size()), "edge"), scores.size());
    out.println();
    out.print(ScoreTable.of(scores.top(top), labels));
    out.println();
    intervals.print(out, scores.top(top));
    wrap("%s", method.meaning(algorithm, settings, scores));
    out.println();
    out.flush();
    Optional<VerifiedScores> verified = verify(model, prompts, scores, nanos);
    out.print(HeadsPart.of(scores));
    circuits(folder, model, prompts, algorithm, scores, verified);
    fact("time", "%s", phases);
  }

  private void circuits(
      ModelFolder folder,
      PatchableModel model,
      Prompts prompts,
      PruneAlgorithm algorithm,
      PruneScores scores,
      Optional<VerifiedScores> verified)
      throws IOException {
    AlgorithmSettings settings = algorithmOptions.settings(prompts.haveWrongAnswers());
    Ablation ablation = algorithmOptions.ablation().orElse(BatchAblation.RESAMPLE);
    print(
        "Circuits on %s, all other edges patched%s",
        prompts.describeTesting(),
        ablation == BatchAblation.RESAMPLE ? "" : " by " + Names.typed(ablation));
    out.println();
    CircuitComparison.Measured measured;
    try {
      measured =
          new CircuitComparison(
                  model,
                  prompts.testing(),
                  ablation,
                  random,
                  algorithmOptions.seed(),
                  phases,
                  checkpoint::part,
                  err)
              .measure(scores, sizes);
    } catch (StoppedException e) {
      e.partial(CircuitComparison.Measured.class).ifPresent(done -> out.println(done.table()));
      out.flush();
      throw e;
    }
    Failures.warn(err, Shares.warnings(measured.range()));
    out.println(measured.table());
    measured.ties().ifPresent(line -> wrap("%s", line));
    if (ablation == BatchAblation.RESAMPLE) {
      measured.emptyCircuits(scores).forEach(line -> print("%s", line));
    }
    wrap(
        "logit diff: the answer's logit less that of the wrong answers. faithful: how far it is from"
            + " that of no edge, 0 %%, to the model's, 100 %%. KL: divergence from the model, in nats."
            + " accuracy: the answer is the most probable token.%s",
        random == 0 ? "" : " random: mean of %s.".formatted(Figures.count(random, "circuit")));
    out.println();
    out.flush();
    Optional<SmallestPart> smallest = SmallestPart.find(model, prompts, scores, ablation, err);
    phases.end("smallest");
    smallest.ifPresent(
        part -> {
          wrap("%s", part.describe(prompts.heldOut()));
          out.println();
        });
    if (json != null) {
      new Discovery(
              RunFacts.of(spec),
              folder.describe(),
              prompts.describe(),
              Names.typed(ablation),
              algorithm,
              scores,
              intervals,
              verified,
              measured,
              smallest)
          .write(json);
      outputs.wrote(json);
      fact("json", "%s", json);
    }
    if (page != null) {
      new DiscoveryPage(spec, folder, prompts)
          .scores(scores, algorithm, method.meaning(algorithm, settings, scores))
          .errors(StandardErrors.of(algorithm, model, prompts.finding(), err))
          .verified(verified)
          .measured(measured, smallest)
          .attention(model)
          .write(page);
      outputs.wrote(page);
      fact("page", "%s (to open in a browser)", page);
    }
  }

  private PruneScores attribute(PruneAlgorithm algorithm, PatchableModel model, Prompts prompts) {
    try (PhaseProgress progress = PhaseProgress.of("attribution", err)) {
      return intervals.isGiven()
          ? intervals.scores(algorithm, model, prompts.finding(), algorithmOptions.seed(), progress)
          : checkpoint.scores("attribution", algorithm, model, prompts.finding(), progress);
    }
  }

  /** Tests estimates against exact effects, and says how far they can be trusted. */
  private Optional<VerifiedScores> verify(
      PatchableModel model, Prompts prompts, PruneScores scores, long attributionNanos) {
    if (!method.estimates() || (budget != null && budget == 0)) {
      return Optional.empty();
    }
    Duration time = VerifiedPart.time(budget, attributionNanos);
    AlgorithmSettings settings = algorithmOptions.settings(prompts.haveWrongAnswers());
    VerifiedScores verified = VerifiedPart.verify(model, prompts, scores, settings, time, err);
    phases.end("verification");
    wrap("%s", VerifiedPart.describe(verified));
    out.println();
    out.flush();
    return Optional.of(verified);
  }

  private void write(PruneScores scores, IntFunction<String> positions) throws IOException {
    PruneScoresJson.write(scores, RunFacts.of(spec), output);
    outputs.wrote(output);
    fact("scores", "%s (%s)", output, Figures.count(scores.size(), "edge"));
    String picture = pictureOptions.write(scores, positions, outputs);
    if (!picture.isEmpty()) {
      fact("picture", "%s", picture);
    }
    phases.end("files");
  }

  /** The sizes that were asked for, and 0 as a yardstick: everything patched. */
  private List<Integer> sizes(ModelGraph graph) {
    List<Integer> sizes = new ArrayList<>(sizeOptions.sizes(spec, graph.nEdges()));
    if (!sizes.contains(0)) {
      sizes.add(0);
    }
    Collections.sort(sizes);
    return sizes;
  }

  private void checkOptions() {
    if (random < 0 || top < 1) {
      throw new ParameterException(
          spec.commandLine(), "--top must be at least 1, --random at least 0");
    }
    VerifiedPart.check(spec, method, budget);
    intervals.check(method);
    algorithmOptions.check(List.of(method), Set.of("--seed"));
    sizeOptions.check(spec);
    graphOptions.check();
    promptOptions.check(spec, modelOptions);
    promptOptions.file().ifPresent(file -> outputs.keep("--prompts", file));
    checkpoint.check(outputs);
    outputs.add("--output", output);
    if (json != null) {
      outputs.add("--json", json);
    }
    if (page != null) {
      outputs.add("--page", page);
    }
    pictureOptions.check(spec, outputs, page == null);
  }

  /** Says how many of the best things follow. */
  static String best(int number, String thing) {
    return "The %s that %s most"
        .formatted(Figures.count(number, thing), number == 1 ? "matters" : "matter");
  }

  /** A name and what there is to say about it. */
  private void fact(String name, String format, Object... values) {
    out.println(Wrap.fact(name, String.format(Locale.ROOT, format, values)));
  }

  private void print(String format, Object... values) {
    out.println(VisibleText.of(String.format(Locale.ROOT, format, values)));
  }

  private void wrap(String format, Object... values) {
    out.println(Wrap.lines(String.format(Locale.ROOT, format, values), 80));
  }
}
