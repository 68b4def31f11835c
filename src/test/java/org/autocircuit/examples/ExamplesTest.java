package org.autocircuit.examples;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.net.httpserver.HttpServer;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
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
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.stream.Stream;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The programs that the documents show do what they say. */
class ExamplesTest {

  private static final String PROMPT = "When Mary and John went to the store, John gave a drink to";

  private interface Program {
    void run(String... args) throws IOException;
  }

  private static List<String> printed(Program program, String... args) throws IOException {
    PrintStream console = System.out;
    ByteArrayOutputStream printed = new ByteArrayOutputStream();
    System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
    try {
      program.run(args);
    } finally {
      System.setOut(console);
    }
    return printed.toString(StandardCharsets.UTF_8).lines().toList();
  }

  @Test
  void topTokens() throws IOException {
    List<String> lines = printed(TopTokens::main);
    assertThat(lines).hasSize(5);
    assertThat(lines.get(0)).isEqualTo("'Mary' 99.41 %");
  }

  @Test
  void patchEdges() throws IOException {
    List<String> lines = printed(PatchEdges::main);
    assertThat(lines).hasSize(2);
    assertThat(lines.get(0)).startsWith("clean   ['Mary' 99.41 %");
    assertThat(lines.get(1)).startsWith("patched ['John' ");
  }

  @Test
  void findCircuit(@TempDir Path folder) throws IOException {
    Path file = folder.resolve("circuit.json");
    List<String> lines = printed(FindCircuit::main, file.toString());
    assertThat(lines).hasSize(7);
    assertThat(lines.get(0)).startsWith("A3.0->Resid End: 2.3787");
    assertThat(lines.get(5))
        .startsWith("circuit of 150 of 1,519 edges of indirect-object: logit difference 5.9")
        .endsWith("accuracy 100.0 % (100.0 % among given)");
    assertThat(lines.get(6)).startsWith("whole model: logit difference 6.3");
    assertThat(Files.readString(file)).contains("autocircuit-prune-scores");
  }

  @Test
  void acdc() throws IOException {
    List<String> lines = printed(RunAcdc::main);
    assertThat(lines).hasSize(2);
    assertThat(lines.get(0)).matches("AcdcResult\\[0.001: \\d+ edges, 0.01: \\d+ edges]");
    assertThat(lines.get(1)).matches("circuit of \\d+ of 1,519 edges: .*accuracy \\d+.*");
  }

  @Test
  void evaluateScores() throws IOException {
    List<String> lines = printed(EvaluateScores::main);
    assertThat(lines).hasSize(13);
    assertThat(lines.get(0)).startsWith("ROC of ").endsWith(" points, area 1.0000");
    assertThat(lines.get(1))
        .startsWith("logit difference of 48 prompts; all but the circuit patched")
        .contains("noising, signed ranking: CPR 0.9");
    assertThat(lines.get(11)).contains("100.0 %", "52 edges", "f = 1.0000");
    assertThat(lines.get(12)).startsWith("5 edges: 7.0");
  }

  @Test
  void mapActivations() throws IOException {
    List<String> lines = printed(MapActivations::main);
    assertThat(lines).hasSize(5);
    assertThat(lines.get(0))
        .isEqualTo(
            "logit difference of 64 prompts; head output, one position at a time; denoising:"
                + " corrupt prompts, clean activations put in");
    assertThat(lines.get(1)).matches("0\\.34\\d+ -?\\d\\.\\d+(E-\\d+)?");
    assertThat(lines.get(2)).startsWith("A3.0: 2.65");
    assertThat(lines.get(3)).startsWith("A3.4: 2.57");
    assertThat(lines.get(4)).startsWith("0.899");
  }

  @Test
  void perPosition() throws IOException {
    List<String> lines = printed(PerPosition::main);
    assertThat(lines).hasSize(6);
    assertThat(lines.get(0)).startsWith("A3.0->Resid End@14: 2.36");
    assertThat(lines.get(5)).startsWith("circuit of 1,000 of 22,785 edges of indirect-object: ");
  }

  @Test
  void patchedGeneration() throws IOException {
    assertThat(printed(PatchedGeneration::main))
        .containsExactly("'John'", "'.'", "'<|endoftext|>'");
  }

  @Test
  void aServerAnswersEightPromptsAtOnce() throws IOException {
    try (TextModel model = ExampleModel.open()) {
      HttpServer server = PromptServer.start(model, 0);
      try {
        HttpClient client = HttpClient.newHttpClient();
        String address = "http://localhost:" + server.getAddress().getPort() + "/top?";
        HttpRequest request =
            HttpRequest.newBuilder(URI.create(address + PROMPT.replace(" ", "%20"))).build();
        List<CompletableFuture<HttpResponse<String>>> answers = new ArrayList<>();
        for (int i = 0; i < 64; i++) {
          answers.add(client.sendAsync(request, BodyHandlers.ofString()));
        }
        for (CompletableFuture<HttpResponse<String>> answer : answers) {
          assertThat(answer.join().statusCode()).isEqualTo(200);
          assertThat(answer.join().body()).startsWith("['Mary' 99.41 %, ");
        }
      } finally {
        server.stop(0);
        ((ExecutorService) server.getExecutor()).shutdown();
      }
    }
  }

  @Test
  void theyAreShort() throws IOException {
    try (Stream<Path> files = Files.list(Path.of("src/test/java/org/autocircuit/examples"))) {
      for (Path file :
          files.filter(path -> !path.toString().matches(".*(Test|-info).java")).toList()) {
        assertThat(
                Files.readAllLines(file).stream()
                    .dropWhile(line -> !line.startsWith("public class"))
                    .toList())
            .as(file.toString())
            .hasSizeLessThanOrEqualTo(15);
      }
    }
  }
}
