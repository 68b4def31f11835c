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

/** The programs that the documents show do what they say; others are in {@code TutorialsTest}. */
class ExamplesTest {

  private static final String PROMPT = "When Mary and John went to the store, John gave a drink to";
  private static final String CORRUPT =
      "When Mary and John went to the store, Mary gave a drink to";

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
  void aServerAnswersManyPromptsAtOnceEachWithItsEdges() throws Exception {
    try (TextModel model = ExampleModel.open()) {
      HttpServer server = CircuitServer.start(model, 0);
      try {
        HttpClient client = HttpClient.newHttpClient();
        List<CompletableFuture<HttpResponse<String>>> answers = new ArrayList<>();
        for (int i = 0; i < 64; i++) {
          String edges = i % 2 == 0 ? "" : "&A3.0->Resid End&A3.4->Resid End";
          String query = PROMPT + "&" + CORRUPT + edges;
          int port = server.getAddress().getPort();
          URI uri = new URI("http", null, "localhost", port, "/", query, null);
          answers.add(
              client.sendAsync(HttpRequest.newBuilder(uri).build(), BodyHandlers.ofString()));
        }
        for (int i = 0; i < answers.size(); i++) {
          assertThat(answers.get(i).join().statusCode()).isEqualTo(200);
          assertThat(answers.get(i).join().body())
              .startsWith(i % 2 == 0 ? "['Mary' 99.41 %, " : "['John' ");
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
            .hasSizeLessThanOrEqualTo(32);
      }
    }
  }
}
