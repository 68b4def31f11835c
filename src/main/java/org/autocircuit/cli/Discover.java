package org.autocircuit.cli;

import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import java.util.function.IntFunction;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.VisibleText;
import org.autocircuit.prune.MaskGradient;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.PruneScoresJson;
import org.autocircuit.report.CircuitPicture;
import org.autocircuit.report.ScoreTable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Finds a circuit by edge attribution patching, and compares it with the model. */
@Command(
    name = "discover",
    mixinStandardHelpOptions = true,
    versionProvider = Version.class,
    sortOptions = false,
    description = {
      "Finds the circuit that does a task: scores every edge of the model by edge attribution"
          + " patching, then runs circuits of the best edges alone and compares them with the"
          + " full model and with random circuits.",
      "Without options it does so for the model and the prompts that come with the program."
    },
    footerHeading = "%nExamples:%n",
    footer = {
      "  autocircuit discover",
      "  autocircuit discover --picture circuit.html",
      "  autocircuit discover --model gpt2 --prompts pairs.json --sizes 1,5,25 --top 30",
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
      " 2:wrong options"
    })
final class Discover implements Callable<Integer> {

  @Spec private CommandSpec spec;

  @Mixin private ModelOptions modelOptions;

  @Mixin private PromptOptions promptOptions;

  @Mixin private GraphOptions graphOptions;

  @Mixin private SizeOptions sizeOptions;

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
      names = "--seed",
      paramLabel = "N",
      defaultValue = "0",
      description = "Seed of the random circuits. Default: ${DEFAULT-VALUE}.")
  private long seed;

  @Option(
      names = "--top",
      paramLabel = "N",
      defaultValue = "15",
      description = "Number of edges to print. Default: ${DEFAULT-VALUE}.")
  private int top;

  @Option(
      names = {"-o", "--output"},
      paramLabel = "FILE",
      defaultValue = "autocircuit-scores.json",
      description = "Where the scores of all edges go, as JSON. Default: ${DEFAULT-VALUE}.")
  private Path output;

  @Option(
      names = "--picture",
      paramLabel = "FILE",
      defaultValue = "autocircuit-circuit.html",
      description =
          "Where the picture of the best edges goes: a .svg image, or a .html page to look into."
              + " Default: ${DEFAULT-VALUE}.")
  private Path picture;

  @Option(names = "--no-picture", description = "Draw no picture.")
  private boolean noPicture;

  @Option(
      names = "--picture-edges",
      paramLabel = "N",
      defaultValue = "40",
      description = "Number of edges to draw. Default: ${DEFAULT-VALUE}.")
  private int pictureEdges;

  private PrintWriter out;
  private PrintWriter err;
  private Phases phases;

  @Override
  public Integer call() throws IOException {
    checkOptions();
    out = spec.commandLine().getOut();
    err = spec.commandLine().getErr();
    phases = new Phases();
    try (PhaseProgress loading = PhaseProgress.waiting("loading the model", err);
        ModelFolder folder = ModelFolder.open(modelOptions)) {
      Prompts prompts = promptOptions.read(folder.tokenizer(), folder.longest());
      Failures.warn(err, prompts.warnings());
      PatchableModelOptions options = graphOptions.modelOptions(folder.config());
      if (perPosition) {
        options = options.withSeqLen(prompts.tokens().oneLength());
      }
      try (PatchableModel model = folder.patchable(options)) {
        loading.close();
        phases.end("loading");
        discover(folder, model, prompts);
      }
    }
    out.flush();
    return Main.OK;
  }

  private void discover(ModelFolder folder, PatchableModel model, Prompts prompts)
      throws IOException {
    ModelGraph graph = model.graph();
    List<Integer> sizes = sizes(graph);
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
    PruneScores scores = attribute(model, prompts);
    phases.end("attribution");
    // At once: whatever becomes of the circuits, the scores are there.
    write(graph, scores, labels);
    scores.requireDifferent();
    out.println();
    print("The %,d edges that matter most, of %,d", Math.min(top, scores.size()), scores.size());
    out.println();
    out.print(ScoreTable.of(scores.top(top), labels));
    out.println();
    wrap(
        "The score estimates how much the %s falls when the edge alone is patched with the corrupt"
            + " prompt, as a mean over the prompts.",
        prompts.haveWrongAnswers() ? "logit difference" : "answer's logit");
    out.println();
    out.flush();

    print("Circuits on %s, all other edges patched", prompts.describeTesting());
    out.println();
    out.print(
        new CircuitComparison(model, prompts.testing(), random, seed, phases, err)
            .table(scores, sizes));
    out.println();
    wrap(
        "logit diff: the answer's logit less that of the wrong answers. KL: divergence from the"
            + " model, in nats. accuracy: the answer is the most probable token.%s",
        random == 0 ? "" : " Random: mean of %s circuits.".formatted(random));
    out.println();
    fact("time", "%s", phases);
  }

  private PruneScores attribute(PatchableModel model, Prompts prompts) {
    try (PhaseProgress progress = PhaseProgress.of("attribution", err)) {
      return MaskGradient.builder()
          .answerFunctionFor(prompts.finding())
          .build()
          .pruneScores(model, prompts.finding(), progress);
    }
  }

  private void write(ModelGraph graph, PruneScores scores, IntFunction<String> positions)
      throws IOException {
    PruneScoresJson.write(scores, output);
    fact("scores", "%s (%,d edges)", output, scores.size());
    if (!noPicture) {
      int drawn = Math.min(pictureEdges, scores.size());
      CircuitPicture.of(
              graph,
              scores.top(drawn),
              String.format(Locale.ROOT, "The %,d edges that matter most", drawn),
              positions)
          .write(picture);
      fact("picture", "%s (%,d edges)", picture, drawn);
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
    if (random < 0 || top < 1 || pictureEdges < 1) {
      throw new ParameterException(
          spec.commandLine(), "--top and --picture-edges must be at least 1, --random at least 0");
    }
    sizeOptions.check(spec);
    graphOptions.check();
    promptOptions.check(spec, modelOptions);
    Outputs outputs = new Outputs(spec);
    promptOptions.file().ifPresent(file -> outputs.keep("--prompts", file));
    outputs.add("--output", output);
    for (String option : List.of("--picture", "--picture-edges")) {
      if (noPicture && spec.commandLine().getParseResult().hasMatchedOption(option)) {
        throw new ParameterException(
            spec.commandLine(), option + " says how to draw what --no-picture leaves out");
      }
    }
    if (!noPicture) {
      try {
        CircuitPicture.isHtml(picture);
      } catch (IllegalArgumentException e) {
        throw new ParameterException(spec.commandLine(), "--picture: " + e.getMessage(), e);
      }
      outputs.add("--picture", picture);
    }
  }

  /** A name and what there is to say about it. */
  private void fact(String name, String format, Object... values) {
    String text = VisibleText.of(String.format(Locale.ROOT, format, values));
    out.println(Wrap.lines(String.format("%-9s", name), text, 80));
  }

  private void print(String format, Object... values) {
    out.println(VisibleText.of(String.format(Locale.ROOT, format, values)));
  }

  private void wrap(String format, Object... values) {
    out.println(Wrap.lines(String.format(Locale.ROOT, format, values), 80));
  }
}
