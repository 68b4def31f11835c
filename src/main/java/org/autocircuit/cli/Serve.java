package org.autocircuit.cli;

import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.generate.Generator;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.VisibleText;
import org.autocircuit.prune.CircuitScores;
import org.autocircuit.serve.CompletionServer;
import org.autocircuit.text.TextModel;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Serves completions over HTTP until it is interrupted. */
@Command(
    name = "serve",
    mixinStandardHelpOptions = true,
    versionProvider = Version.class,
    description = {
      "Answers prompts over HTTP as OpenAI's completions do, each request patched and steered as it"
          + " likes: POST /v1/completions, GET /v1/models, /metrics (for Prometheus) and /health.",
      "Ctrl-C ends it. There is no password and no TLS: only this machine can connect unless --host"
          + " says otherwise."
    },
    footerHeading = "%nExamples:%n",
    footer = {
      "  autocircuit serve",
      "  autocircuit serve --model gpt2 --port 9000 --scores gpt2.json",
      "  curl -N localhost:8080/v1/completions -H 'Content-Type: application/json' -d '{",
      "    \"prompt\": \"When Mary and John went to the store, John gave a drink to\",",
      "    \"stream\": true, \"autocircuit\": {\"edges\": [\"A3.0->Resid End\"]}}'"
    })
final class Serve implements Callable<Integer> {

  @Spec private CommandSpec spec;

  @Mixin private ModelOptions modelOptions;

  @Mixin private GraphOptions graphOptions;

  @Option(
      names = "--host",
      paramLabel = "ADDRESS",
      defaultValue = "127.0.0.1",
      description = "Address to listen at. Default: ${DEFAULT-VALUE}, this machine only.")
  private String host;

  @Option(
      names = "--port",
      paramLabel = "N",
      defaultValue = "8080",
      description = "Port to listen at; 0: any that is free. Default: ${DEFAULT-VALUE}.")
  private int port;

  @Option(
      names = "--active",
      paramLabel = "N",
      defaultValue = "32",
      description = "The most requests that run at once. Default: ${DEFAULT-VALUE}.")
  private int active;

  @Option(
      names = "--queue",
      paramLabel = "N",
      defaultValue = "64",
      description =
          "The most requests that wait; others are answered with 429. Default: ${DEFAULT-VALUE}.")
  private int queue;

  @Option(
      names = "--kv-memory",
      paramLabel = "MIB",
      defaultValue = "1024",
      description =
          "MiB for keys, values and masks of all requests that run. Default: ${DEFAULT-VALUE}.")
  private int kvMemory;

  @Option(
      names = "--time-limit",
      paramLabel = "SECONDS",
      defaultValue = "600",
      description = "The most time of a request, its wait included. Default: ${DEFAULT-VALUE}.")
  private int timeLimit;

  @Option(
      names = {"-s", "--scores"},
      paramLabel = "FILE",
      description =
          "Scores as 'autocircuit discover' writes them, by which requests may choose a circuit;"
              + " they name the file, without its ending. Repeatable.")
  private List<Path> scores = new ArrayList<>();

  @Override
  public Integer call() throws IOException {
    check();
    UntilStopped.run("autocircuit-serve-end", this::serve);
    return Main.OK;
  }

  private void check() {
    graphOptions.check();
    atLeast("--active", 1, active);
    atLeast("--queue", 1, queue);
    atLeast("--kv-memory", 1, kvMemory);
    atLeast("--time-limit", 1, timeLimit);
    if (port < 0 || port > 65_535) {
      throw new ParameterException(spec.commandLine(), "--port: expected 0 to 65535, got " + port);
    }
  }

  private void atLeast(String option, int least, int value) {
    if (value < least) {
      throw new ParameterException(
          spec.commandLine(), "%s must be at least %s, got %s".formatted(option, least, value));
    }
  }

  private void serve(CountDownLatch asked) throws IOException {
    PrintWriter out = spec.commandLine().getOut();
    try (PhaseProgress loading =
            PhaseProgress.waiting("loading the model", spec.commandLine().getErr());
        ModelFolder folder = ModelFolder.open(modelOptions)) {
      PatchableModelOptions options = graphOptions.modelOptions(folder.config());
      Map<String, CircuitScores> named = named(options.graph(folder.config()));
      try (TextModel model = TextModel.of(folder.patchable(options), folder.tokenizer());
          Generator generator =
              folder
                  .generator(model.model())
                  .maxActive(active)
                  .queue(queue)
                  .kvBytes((long) kvMemory << 20)
                  .build();
          CompletionServer server = server(folder, model, generator, named)) {
        loading.close();
        out.println("model    " + VisibleText.of(folder.describe()));
        out.println("scores   " + (named.isEmpty() ? "(none)" : String.join(", ", named.keySet())));
        out.println("serving  " + server.uri() + "/v1/completions (Ctrl-C ends it)");
        out.flush();
        asked.await();
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }
    out.println("ended");
    out.flush();
  }

  private CompletionServer server(
      ModelFolder folder, TextModel model, Generator generator, Map<String, CircuitScores> named)
      throws IOException {
    CompletionServer.Builder builder =
        CompletionServer.builder(model, generator)
            .name(folder.name())
            .host(host)
            .port(port)
            // Those that run, those that wait, and some that are refused or ask for metrics.
            .threads(active + queue + 64)
            .timeLimit(Duration.ofSeconds(timeLimit));
    named.forEach(builder::scores);
    return builder.start();
  }

  private static CircuitScores readScores(ModelGraph graph, Path file) throws IOException {
    CircuitScores read = ScoresFile.readEither(graph, file);
    if (read.edges().size() == graph.nEdges()) {
      ScoresFile.requireDifferent(read.scores(), file);
    }
    return read;
  }

  private Map<String, CircuitScores> named(ModelGraph graph) throws IOException {
    Map<String, CircuitScores> named = new LinkedHashMap<>();
    for (Path file : scores) {
      String name = String.valueOf(file.getFileName()).replaceFirst("\\.json$", "");
      if (named.put(name, readScores(graph, file)) != null) {
        throw new ParameterException(
            spec.commandLine(),
            "--scores %s: requests would call two files '%s'".formatted(file, name));
      }
    }
    return named;
  }
}
