package org.autocircuit.explore;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.text.Circuit;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.NextToken;
import org.autocircuit.text.NextTokens;
import org.autocircuit.text.Patched;
import org.autocircuit.text.TextModel;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Asks the server what its pages ask, and what they never would. */
class ExploreServerTest {

  private static TestExploration exploration;

  @BeforeAll
  static void open() {
    exploration = new TestExploration();
  }

  @AfterAll
  static void close() {
    exploration.close();
  }

  @AfterEach
  void theServerStillAnswers() {
    assertThat(exploration.send(exploration.post("/health", "{}")).statusCode()).isEqualTo(200);
  }

  private static EdgeSet named(String... names) {
    return EdgeSet.ofNames(exploration.model.graph(), List.of(names));
  }

  private static void assertSame(JsonNode said, Patched expected) {
    assertThat(said.at("/next")).hasSizeGreaterThanOrEqualTo(6);
    for (JsonNode token : said.at("/next")) {
      long id = token.get("id").longValue();
      assertToken(token.get("plain"), expected.clean(), id);
      assertToken(token.get("patched"), expected.patched(), id);
      assertThat(token.get("token").textValue()).isEqualTo(expected.clean().get(id).spelling());
    }
  }

  private static void assertToken(JsonNode said, NextTokens expected, long id) {
    NextToken token = expected.get(id);
    assertThat(said.get(0).doubleValue()).isEqualTo(token.probability());
    assertThat(said.get(1).doubleValue()).isEqualTo(token.logit());
  }

  @Test
  void edgesArePatchedAsTheLibraryDoes() {
    EdgeSet edges = named("A3.0->Resid End", "MLP 0->A3.4.V", "A0.1->MLP 0");
    TextModel model = exploration.model;
    Patched expected = model.patch(TestExploration.PROMPT, TestExploration.CORRUPT, edges);
    JsonNode said = exploration.ask("/run", TestExploration.question(edges));
    assertSame(said, expected);
    long mary = model.answer(TestExploration.PROMPT, "Mary");
    long john = model.answer(TestExploration.PROMPT, "John");
    assertThat(said.get("answer").longValue()).isEqualTo(mary);
    assertThat(said.get("wrong").longValue()).isEqualTo(john);
    Patched all =
        model.patch(TestExploration.PROMPT, TestExploration.CORRUPT, EdgeSet.all(model.graph()));
    List<NextTokens> runs = List.of(expected.clean(), expected.patched(), all.patched());
    double[] differences =
        runs.stream().mapToDouble(run -> run.get(mary).logit() - run.get(john).logit()).toArray();
    for (int i = 0; i < 3; i++) {
      assertThat(said.at("/difference/" + i).doubleValue()).isEqualTo(differences[i]);
    }
    assertThat(said.get("recovered").doubleValue())
        .isEqualTo((differences[1] - differences[2]) / (differences[0] - differences[2]));
    assertThat(said.get("clean")).hasSize(15);
    assertThat(said.at("/corrupt/10").textValue()).isEqualTo("'Mary'");
  }

  @ParameterizedTest
  @CsvSource({"resample,RESAMPLE", "zero,ZERO", "batch-all-tok-mean,BATCH_ALL_TOK_MEAN"})
  void circuitsRunAsTheLibraryRunsThem(String name, BatchAblation ablation) {
    Circuit circuit = exploration.model.circuit(exploration.scores, 60).withAblation(ablation);
    Patched expected =
        exploration.model.run(circuit, TestExploration.PROMPT, TestExploration.CORRUPT);
    ObjectNode question = TestExploration.question(circuit.edges().complement());
    assertSame(exploration.ask("/run", question.put("ablation", name)), expected);
  }

  @Test
  void edgesArePatchedAtOnePosition() {
    ObjectNode question = TestExploration.question(named("A0.1->A3.0.Q", "MLP 0->A1.5.V"));
    JsonNode said = exploration.ask("/run", question.put("at", 10));
    try (TextModel positions = exploration.model.perPosition(ExampleModel.prompts())) {
      List<String> names = List.of("A0.1->A3.0.Q@10", "MLP 0->A1.5.V@10");
      assertSame(said, positions.patch(TestExploration.PROMPT, TestExploration.CORRUPT, names));
    }
    HttpResponse<String> beyond =
        exploration.send(exploration.post("/run", question.put("at", 15).toString()));
    assertThat(beyond.statusCode()).isEqualTo(400);
    assertThat(beyond.body()).contains("at: expected a position of the prompt, 0 to 14, got 15");
  }

  @Test
  void answersMayBeNamed() {
    ObjectNode question =
        TestExploration.question(named()).put("answer", "Helen").put("wrong", "Eric");
    JsonNode said = exploration.ask("/run", question);
    TextModel model = exploration.model;
    assertThat(said.get("answer").longValue())
        .isEqualTo(model.answer(TestExploration.PROMPT, "Helen"));
    assertThat(said.get("wrong").longValue())
        .isEqualTo(model.answer(TestExploration.PROMPT, "Eric"));
    assertThat(said.get("kl").doubleValue()).isZero();
    // With zeros nothing comes from a twin.
    ObjectNode alone = TestExploration.question(named()).put("corrupt", "").put("ablation", "zero");
    assertThat(exploration.ask("/run", alone).get("wrong").longValue()).isEqualTo(-1);
  }

  @Test
  void manyTabsAskAtOnce() throws Exception {
    List<EdgeSet> sets = new ArrayList<>();
    for (int size = 0; size < 64; size++) {
      sets.add(exploration.model.circuit(exploration.scores, 5 * size).edges().complement());
    }
    ExecutorService tabs = Executors.newFixedThreadPool(8);
    try {
      List<Future<JsonNode>> answers =
          sets.stream()
              .map(
                  set -> {
                    // Several pairs, so that the oldest are forgotten while others run.
                    String name = List.of("Mary", "Helen", "Eric", "Kate").get(set.size() % 4);
                    ObjectNode question = TestExploration.question(set);
                    question.put("ablation", set.size() % 3 == 0 ? "zero" : "resample");
                    question.put("clean", TestExploration.PROMPT.replace("Mary", name));
                    return tabs.submit(() -> exploration.ask("/run", question));
                  })
              .toList();
      for (int i = 0; i < sets.size(); i++) {
        EdgeSet set = sets.get(i);
        String name = List.of("Mary", "Helen", "Eric", "Kate").get(set.size() % 4);
        Circuit circuit =
            Circuit.of(set.complement())
                .withAblation(set.size() % 3 == 0 ? BatchAblation.ZERO : BatchAblation.RESAMPLE);
        String prompt = TestExploration.PROMPT.replace("Mary", name);
        assertSame(
            answers.get(i).get(), exploration.model.run(circuit, prompt, TestExploration.CORRUPT));
      }
    } finally {
      tabs.shutdownNow();
    }
  }

  @Test
  void pagesNeedTheToken() {
    HttpResponse<String> page = exploration.page("?token=a+token+of+a+test");
    assertThat(page.statusCode()).isEqualTo(200);
    assertThat(page.body()).contains("connect-src 'self'").doesNotContain(TestExploration.TOKEN);
    assertThat(page.headers().firstValue("Cache-Control")).contains("no-store");
    assertThat(page.headers().firstValue("X-Frame-Options")).contains("DENY");
    assertThat(page.headers().firstValue("Referrer-Policy")).contains("no-referrer");
    for (String query : List.of("", "?token=", "?token=a+token", "?other=1", "?token=%25zz")) {
      assertThat(exploration.page(query).statusCode()).as(query).isBetween(400, 403);
    }
    assertThat(exploration.server.toString()).doesNotContain(TestExploration.TOKEN);
    assertThat(exploration.server.uri().toString()).endsWith("?token=a+token+of+a+test");
  }

  @Test
  void requestsNeedTheTokenAndAPageOfThisServer() throws IOException {
    String body = TestExploration.question(named()).toString();
    for (String headers :
        List.of(
            "Host: 127.0.0.1:PORT",
            "Host: 127.0.0.1:PORT\r\nAuthorization: Bearer another token",
            "Host: evil.example\r\nAuthorization: Bearer TOKEN",
            "Host: 127.0.0.1:PORT\r\nAuthorization: Bearer TOKEN\r\nOrigin: http://evil.example",
            "Host: 127.0.0.1:PORT\r\nAuthorization: Bearer TOKEN\r\nOrigin: null",
            "Host: 127.0.0.1:PORT\r\nAuthorization: Bearer TOKEN\r\nOrigin: http://127.0.0.1:1")) {
      assertThat(raw(headers, body)).as(headers).containsPattern("^HTTP/1.1 4(03|21) ");
    }
    String own = "Host: 127.0.0.1:PORT\r\nAuthorization: Bearer TOKEN";
    assertThat(raw(own + "\r\nOrigin: http://127.0.0.1:PORT", body)).startsWith("HTTP/1.1 200 ");
    assertThat(raw(own, body)).startsWith("HTTP/1.1 200 ");
  }

  private static String raw(String headers, String body) throws IOException {
    return raw("POST /run", headers, body);
  }

  private static String raw(String line, String headers, String body) throws IOException {
    int port = exploration.server.uri().getPort();
    String request =
        "%s HTTP/1.1\r\n%s\r\nContent-Type: application/json\r\nContent-Length: %s\r\n"
                .formatted(line, headers, body.length())
            + "Connection: close\r\n\r\n"
            + body;
    try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), port)) {
      socket.setSoTimeout(10_000);
      socket
          .getOutputStream()
          .write(
              request
                  .replace("PORT", String.valueOf(port))
                  .replace("TOKEN", TestExploration.TOKEN)
                  .getBytes(StandardCharsets.UTF_8));
      InputStream in = socket.getInputStream();
      return new String(in.readAllBytes(), StandardCharsets.UTF_8);
    }
  }

  @Test
  void badInputIsAnsweredInWords() {
    ObjectNode good = TestExploration.question(named());
    refused(400, "body: ", "nonsense");
    refused(400, "expected a JSON object", "[1]");
    refused(400, "clean: expected a prompt", "{}");
    refused(400, "clean: expected a string", "{\"clean\": 7}");
    refused(400, "did you mean 'patched'", good.deepCopy().put("patch", "").toString());
    refused(400, "bits of at most 1519 edges", good.deepCopy().put("patched", "!").toString());
    String many = "/".repeat(400);
    refused(400, "bits of at most 1519 edges", good.deepCopy().put("patched", many).toString());
    refused(400, "ablation: expected", good.deepCopy().put("ablation", "none").toString());
    refused(400, "corrupt: expected", good.deepCopy().put("corrupt", "").toString());
    refused(400, "as many tokens", good.deepCopy().put("corrupt", "When Mary").toString());
    refused(400, "at: expected", good.deepCopy().put("at", -2).toString());
    refused(400, "expected one", good.deepCopy().put("answer", "no word of it").toString());
    refused(400, "token", good.deepCopy().put("clean", "word ".repeat(5000)).toString());
    refused(413, "body: expected at most", "{\"clean\": \"" + "x".repeat(1 << 20) + "\"}");
    refused(400, "clean: expected whole characters", "{\"clean\": \"\\ud800\"}");
  }

  private static void refused(int status, String message, String body) {
    HttpResponse<String> response = exploration.send(exploration.post("/run", body));
    assertThat(response.statusCode()).as(response.body()).isEqualTo(status);
    assertThat(TestExploration.json(response.body()).at("/error/message").textValue())
        .contains(message);
  }

  @Test
  void thereIsNothingElse() throws IOException {
    assertThat(exploration.send(exploration.post("/etc/passwd", "{}")).statusCode()).isEqualTo(404);
    assertThat(exploration.send(exploration.request("/run").build()).statusCode()).isEqualTo(405);
    assertThat(
            exploration
                .send(exploration.request("/run").POST(BodyPublishers.ofString("{}")).build())
                .statusCode())
        .isEqualTo(415);
    // Java's own client refuses to send what is no escape.
    assertThat(raw("GET /?token=%zz", "Host: 127.0.0.1", "")).startsWith("HTTP/1.1 400 ");
    assertThat(exploration.send(exploration.request("/favicon.ico").build()).statusCode())
        .isEqualTo(404);
  }

  @Test
  void settingsAreChecked() {
    assertThatThrownBy(() -> new TestExploration(ExampleModel.open(), s -> s.token("short")))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("token: expected 16 characters or more");
    assertThatThrownBy(() -> new TestExploration(ExampleModel.open(), s -> s.port(70_000)))
        .hasMessageContaining("port: expected 0 to 65535, got 70000");
  }
}
