package org.autocircuit.cli;

import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.OptionalInt;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.explore.ExploreServer;
import org.autocircuit.explore.Scored;
import org.autocircuit.generate.Generator;
import org.autocircuit.internal.VisibleText;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.prune.PruneAlgorithm;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.ScoreSign;
import org.autocircuit.text.TextModel;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Serves the page of a circuit, with the engine behind it, until it is interrupted. */
@Command(
    name = "explore",
    mixinStandardHelpOptions = true,
    versionProvider = Version.class,
    description = {
      "Serves a page to browsers on this machine on which circuits run: type prompts, patch edges,"
          + " heads and blocks by a click, drag the circuit's size, and see the next tokens at once.",
      "Open the address that it prints. Whoever knows the token in it may use the model; nothing is"
          + " written to disk. Ctrl-C ends it."
    },
    footerHeading = "%nExamples:%n",
    footer = {
      "  autocircuit explore",
      "  autocircuit explore --model gpt2 --prompts pairs.json",
      "  autocircuit explore --scores autocircuit-scores.json --port 9001"
    })
final class Explore implements Callable<Integer> {

  private static final int LEAST_TOKEN = 16;
  private static final int POINTS = 5;

  @Spec private CommandSpec spec;

  @Mixin private ModelOptions modelOptions;

  @Mixin private PairOptions pairOptions;

  @Option(
      names = "--method",
      paramLabel = "METHOD",
      description = "What scores the edges at first: ${COMPLETION-CANDIDATES}. Default: eap.")
  private Method method;

  @Option(
      names = {"-s", "--scores"},
      paramLabel = "FILE",
      description = "Scores as 'autocircuit discover' writes them, instead of a method.")
  private Path scores;

  @Option(
      names = "--port",
      paramLabel = "N",
      defaultValue = "0",
      description = "Port to listen at; 0: any that is free. Default: ${DEFAULT-VALUE}.")
  private int port;

  @Option(
      names = "--token",
      paramLabel = "TEXT",
      description =
          "The token of the address. With the same token and --port, open pages go on when the"
              + " command is started once more. Other users of this machine can see what is typed"
              + " here while it runs. Default: a random one.")
  private String token;

  private PrintWriter out;
  private PrintWriter err;

  @Override
  public Integer call() throws IOException {
    check();
    out = spec.commandLine().getOut();
    err = spec.commandLine().getErr();
    UntilStopped.run("autocircuit-explore-end", this::explore);
    out.println("ended");
    out.flush();
    return Main.OK;
  }

  private void check() {
    pairOptions.check(spec, modelOptions);
    if (port < 0 || port > 65_535) {
      throw wrong("--port: expected 0 to 65535, got " + port);
    }
    if (token != null && token.length() < LEAST_TOKEN) {
      throw wrong("--token: expected %s characters or more".formatted(LEAST_TOKEN));
    }
    if (scores != null && method != null) {
      throw wrong("--scores and --method both say what scores the edges: give one of them");
    }
  }

  private ParameterException wrong(String message) {
    return new ParameterException(spec.commandLine(), message);
  }

  private void explore(CountDownLatch asked) throws IOException {
    try (PhaseProgress loading = PhaseProgress.waiting("loading the model", err);
        ModelFolder folder = ModelFolder.open(modelOptions)) {
      Prompts prompts = pairOptions.read(folder.tokenizer(), folder.longest());
      Failures.warn(err, prompts.warnings());
      PatchableModelOptions options = PatchableModelOptions.defaults();
      Optional<PruneScores> read =
          scores == null
              ? Optional.empty()
              : Optional.of(ScoresFile.read(options.graph(folder.config()), scores));
      try (TextModel model = TextModel.of(folder.patchable(options), folder.tokenizer());
          Generator generator = folder.generator(model.model()).build()) {
        loading.close();
        serve(asked, folder, model, generator, prompts, read);
      }
    }
  }

  private void serve(
      CountDownLatch asked,
      ModelFolder folder,
      TextModel model,
      Generator generator,
      Prompts prompts,
      Optional<PruneScores> read)
      throws IOException {
    out.println("model    " + VisibleText.of(folder.describe()));
    out.println("prompts  " + VisibleText.of(prompts.describeAll()));
    out.flush();
    Scored first = read.map(this::ofFile).orElseGet(() -> scored(model.model(), prompts));
    out.println("scores   " + VisibleText.of(first.name()));
    ExploreServer.Builder builder =
        ExploreServer.builder(model, generator, pairOptions.dataset(), key(), first)
            .title("The circuit of " + folder.name())
            .fact("model", folder.describe())
            .fact("prompts", prompts.describeAll())
            .fact("command", RunFacts.command(spec))
            .fact("version", RunFacts.version())
            .port(port);
    if (modelOptions.folder != null) {
      builder.folder(modelOptions.folder);
    }
    if (token != null) {
      builder.token(token);
    }
    for (Method each : Method.values()) {
      builder.method(
          each.toString(),
          (ablation, progress) -> scored(each, ablation, model.model(), prompts, progress));
    }
    try (ExploreServer server = builder.start()) {
      out.println("open     " + server.uri());
      out.println("         (Ctrl-C ends it)");
      out.flush();
      asked.await();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private String key() {
    return scores == null ? first().toString() : "scores";
  }

  private Method first() {
    return method == null ? Method.EAP : method;
  }

  private Scored ofFile(PruneScores read) {
    boolean signed = Arrays.stream(read.toArray()).anyMatch(score -> score < 0);
    return new Scored(
        scores.toString(),
        "none",
        signed ? ScoreSign.SIGNED : ScoreSign.UNSIGNED,
        "The scores are those of %s.".formatted(scores),
        read);
  }

  private Scored scored(PatchableModel model, Prompts prompts) {
    try (PhaseProgress progress = PhaseProgress.of("scores", err)) {
      return scored(first(), BatchAblation.RESAMPLE, model, prompts, progress);
    }
  }

  private static Scored scored(
      Method method,
      BatchAblation ablation,
      PatchableModel model,
      Prompts prompts,
      Progress progress) {
    AlgorithmSettings settings =
        new AlgorithmSettings(
            Metric.LOGIT,
            prompts.haveWrongAnswers() ? AnswerFunction.AVG_DIFF : AnswerFunction.AVG_VAL,
            Optional.of(ablation),
            POINTS,
            Optional.empty(),
            OptionalInt.empty(),
            OptionalDouble.empty(),
            0);
    PruneAlgorithm algorithm = method.algorithm(settings);
    PruneScores scores = algorithm.pruneScores(model, prompts.finding(), progress);
    scores.requireDifferent();
    return new Scored(
        algorithm.name(),
        algorithm.unit(),
        algorithm.sign(),
        method.meaning(algorithm, settings, scores),
        scores);
  }
}
