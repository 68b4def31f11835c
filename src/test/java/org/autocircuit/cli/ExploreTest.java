package org.autocircuit.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.ServerSocket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
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

/** The command serves a page until it is told to end, and writes nothing. */
class ExploreTest {

  @TempDir private Path folder;

  @Test
  void servesThePageUntilItIsTerminated() throws Exception {
    Path scores = folder.resolve("ioi.json");
    try (TextModel model = ExampleModel.open()) {
      double[] values = new double[model.graph().nEdges()];
      values[5] = -1;
      PruneScoresJson.write(PruneScores.of(model.graph(), values), scores);
    }
    Process command =
        start("explore", "--scores", scores.toString(), "--limit", "8", "--token", "t".repeat(20));
    try (BufferedReader out =
        new BufferedReader(
            new InputStreamReader(command.getInputStream(), StandardCharsets.UTF_8))) {
      List<String> lines = new ArrayList<>();
      String line = out.readLine();
      while (line != null && !line.startsWith("open ")) {
        lines.add(line);
        line = out.readLine();
      }
      assertThat(line).as(String.join("\n", lines)).isNotNull();
      assertThat(lines).contains("scores   " + scores);
      assertThat(line).matches("open     http://127.0.0.1:\\d+/\\?token=t{20}");
      HttpResponse<String> page =
          HttpClient.newHttpClient()
              .send(
                  HttpRequest.newBuilder(URI.create(line.split(" +")[1])).build(),
                  BodyHandlers.ofString());
      assertThat(page.statusCode()).isEqualTo(200);
      assertThat(page.body())
          .contains("<title>The circuit of indirect-object</title>", "\"prompts\":8")
          .contains("\"method\":\"scores\"", "\"acdc\"");
      command.toHandle().destroy(); // SIGTERM, as Ctrl-C's SIGINT, and its output stays open
      assertThat(command.waitFor(20, TimeUnit.SECONDS)).isTrue();
      assertThat(out.lines()).containsExactly("         (Ctrl-C ends it)", "ended");
      assertThat(command.exitValue()).isEqualTo(143);
    } finally {
      command.destroyForcibly();
    }
    try (Stream<Path> files = Files.list(folder)) {
      assertThat(files).containsExactly(scores);
    }
  }

  private Process start(String... arguments) throws IOException {
    List<String> words = new ArrayList<>();
    words.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    words.add("-Dorg.bytedeco.javacpp.maxPhysicalBytes=0");
    String classes =
        Stream.of(System.getProperty("java.class.path").split(":"))
            .map(entry -> Path.of(entry).toAbsolutePath().toString())
            .reduce((all, entry) -> all + ":" + entry)
            .orElseThrow();
    words.addAll(List.of("-cp", classes, Main.class.getName()));
    words.addAll(List.of(arguments));
    // Its complaints would come among its lines.
    return new ProcessBuilder(words).directory(folder.toFile()).redirectErrorStream(true).start();
  }

  @Test
  void aPortThatIsTakenIsNamed() throws IOException {
    try (ServerSocket taken = new ServerSocket(0)) {
      CommandRun run =
          CommandRun.of(
              "explore", "--limit", 4, "--method", "random", "--port", taken.getLocalPort());
      assertThat(run.code()).isEqualTo(Main.FAILURE);
      assertThat(run.err())
          .contains("autocircuit: 127.0.0.1 port %s: ".formatted(taken.getLocalPort()));
    }
  }

  @ParameterizedTest
  @CsvSource({
    "--port, 70000, '--port: expected 0 to 65535, got 70000'",
    "--token, short, '--token: expected 16 characters or more'",
    "--model, somewhere, --model needs --prompts",
    "--method, none, did you mean"
  })
  void wrongOptionsAreRefused(String option, String value, String message) {
    CommandRun run = CommandRun.of("explore", option, value);
    assertThat(run.code()).isEqualTo(Main.USAGE);
    assertThat(run.err()).contains(message);
  }

  @Test
  void scoresComeFromAFileOrAMethod() {
    CommandRun run = CommandRun.of("explore", "--scores", "s.json", "--method", "eap");
    assertThat(run.code()).isEqualTo(Main.USAGE);
    assertThat(run.err()).contains("--scores and --method both say what scores the edges");
  }
}
