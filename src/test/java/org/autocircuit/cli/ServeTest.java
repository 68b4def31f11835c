package org.autocircuit.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.ServerSocket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.PruneScoresJson;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The command serves until it is told to end. */
class ServeTest {

  private static final String PROMPT = "When Mary and John went to the store, John gave a drink to";

  @TempDir private Path folder;

  /** As a user starts and ends it, while a client reads an answer. */
  @Test
  void servesUntilItIsTerminated() throws Exception {
    Path scores = folder.resolve("ioi.json");
    try (TextModel model = ExampleModel.open()) {
      double[] values = new double[model.graph().nEdges()];
      values[5] = 1;
      PruneScoresJson.write(PruneScores.of(model.graph(), values), scores);
    }
    Process command = start("serve", "--port", "0", "--scores", scores.toString(), "--queue", "3");
    try (BufferedReader out =
        new BufferedReader(
            new InputStreamReader(command.getInputStream(), StandardCharsets.UTF_8))) {
      List<String> lines = new ArrayList<>();
      String line = out.readLine();
      while (line != null && !line.startsWith("serving")) {
        lines.add(line);
        line = out.readLine();
      }
      assertThat(line).as(String.join("\n", lines)).isNotNull();
      assertThat(lines).contains("scores   ioi");
      assertThat(line)
          .matches("serving  http://127.0.0.1:\\d+/v1/completions \\(Ctrl-C ends it\\)");

      String body =
          "{\"prompt\":\"%s\",\"stream\":true,\"model\":\"indirect-object\",\"autocircuit\":"
              + "{\"scores\":\"ioi\",\"size\":1}}";
      HttpResponse<Stream<String>> response =
          HttpClient.newHttpClient()
              .send(
                  HttpRequest.newBuilder(URI.create(line.split(" +")[1]))
                      .header("Content-Type", "application/json")
                      .POST(BodyPublishers.ofString(body.formatted(PROMPT)))
                      .build(),
                  BodyHandlers.ofLines());
      assertThat(response.statusCode()).isEqualTo(200);
      assertThat(response.body()).contains("data: [DONE]");

      command.toHandle().destroy(); // SIGTERM, as Ctrl-C's SIGINT, and its output stays open
      assertThat(command.waitFor(20, TimeUnit.SECONDS)).isTrue();
      assertThat(out.lines()).containsExactly("ended");
      assertThat(command.exitValue()).isEqualTo(143);
    } finally {
      command.destroyForcibly();
    }
  }

  private Process start(String... arguments) throws IOException {
    List<String> words = new ArrayList<>();
    words.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    words.add("-Dorg.bytedeco.javacpp.maxPhysicalBytes=0");
    words.addAll(List.of("-cp", System.getProperty("java.class.path"), Main.class.getName()));
    words.addAll(List.of(arguments));
    // Its complaints would come among its lines.
    return new ProcessBuilder(words).redirectErrorStream(true).start();
  }

  @Test
  void anAddressThatIsTakenIsNamed() throws IOException {
    try (ServerSocket taken = new ServerSocket(0)) {
      CommandRun run = CommandRun.of("serve", "--port", taken.getLocalPort());
      assertThat(run.code()).isEqualTo(Main.FAILURE);
      assertThat(run.err())
          .contains("autocircuit: 127.0.0.1 port %s: ".formatted(taken.getLocalPort()))
          .contains("in use");
    }
  }

  @ParameterizedTest
  @CsvSource({
    "--port, 70000, '--port: expected 0 to 65535, got 70000'",
    "--active, 0, '--active must be at least 1, got 0'",
    "--queue, 0, '--queue must be at least 1, got 0'",
    "--kv-memory, 0, '--kv-memory must be at least 1, got 0'",
    "--time-limit, -1, '--time-limit must be at least 1, got -1'"
  })
  void whatCannotBeServedIsRefused(String option, String value, String message) {
    CommandRun run = CommandRun.of("serve", option, value);
    assertThat(run.code()).isEqualTo(Main.USAGE);
    assertThat(run.err()).contains(message);
  }

  @Test
  void scoresThatAreNotThereAreRefused() {
    CommandRun run = CommandRun.of("serve", "--port", "0", "--scores", folder.resolve("no.json"));
    assertThat(run.code()).isEqualTo(Main.FAILURE);
    assertThat(run.err()).contains("no.json: no such file; 'autocircuit discover' writes one");
  }
}
