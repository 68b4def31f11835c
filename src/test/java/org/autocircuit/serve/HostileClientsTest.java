package org.autocircuit.serve;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.Socket;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.logging.Level;
import java.util.stream.IntStream;
import org.autocircuit.LogRecords;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Clients that are wrong, slow, dead or hostile get a short answer, and harm nobody else. */
class HostileClientsTest {

  private static final TestServer SERVER =
      new TestServer(
          generator -> generator,
          server -> server.bodyLimit(100_000).clientLimit(Duration.ofMillis(1500)).threads(32));

  @AfterAll
  static void close() {
    SERVER.close();
  }

  /** Says what was expected, and what came; and the next request is answered. */
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '~',
      textBlock =
          """
          {                                        | 400 | body: not valid JSON at line 1, column 2: it ends too early
          []                                       | 400 | body: expected a JSON object, got an array
          {} x                                     | 400 | body: not valid JSON
          {"prompt":"a","prompt":"b"}              | 400 | Duplicate field 'prompt'
          {}                                       | 400 | prompt: expected text, or an array of token ids, got null
          {"prompt":7}                             | 400 | prompt: expected text, or an array of token ids, got 7
          {"prompt":[]}                            | 400 | prompt: expected text, or an array of token ids, got an array
          {"prompt":[1.5]}                         | 400 | prompt[0]: expected a token id (one prompt a request), got 1.5
          {"prompt":["a","b"]}                     | 400 | prompt[0]: expected a token id (one prompt a request), got "a"
          {"prompt":[1,-1]}                        | 400 | prompt[1]: expected a token id
          {"prompt":[1,999]}                       | 400 | tokens: expected 0 to 232, got 999 at position 1
          {"prompt":"\\ud800"}                     | 400 | prompt: expected whole characters
          {"prompt":"a","model":"gpt-4"}           | 404 | model: expected 'indirect-object', got 'gpt-4'
          {"prompt":"a","max_token":1}             | 400 | did you mean 'max_tokens'?
          {"prompt":"a","max_tokens":0}            | 400 | max_tokens: expected a whole number of at least 1, got 0
          {"prompt":"a","max_tokens":1e9}          | 400 | max_tokens: expected a whole number
          {"prompt":"a","temperature":NaN}         | 400 | body: not valid JSON
          {"prompt":"a","temperature":1e999}       | 400 | temperature: expected a finite number
          {"prompt":"a","temperature":"NaN"}       | 400 | temperature: expected a finite number, got "NaN"
          {"prompt":"a","temperature":-1}          | 400 | temperature: expected 0 or a positive number, got -1.0
          {"prompt":"a","top_p":2}                 | 400 | topP: expected a share
          {"prompt":"a","top_k":1.5}               | 400 | top_k: expected a whole number
          {"prompt":"a","seed":99999999999999999999} | 400 | seed: expected a whole number of 64 bits
          {"prompt":"a","stream":"yes"}            | 400 | stream: expected true or false, got "yes"
          {"prompt":"a","stream_options":{}}       | 400 | stream_options: expected none without "stream": true
          {"prompt":"a","stop":""}                 | 400 | stop text: expected some characters
          {"prompt":"a","stop":[1]}                | 400 | stop[0]: expected a string, got 1
          {"prompt":"a","logprobs":21}             | 400 | logprobs: expected true, or 0 to 20
          {"prompt":"a","n":0}                     | 400 | n: expected a whole number of at least 1
          {"prompt":"a","n":1000}                  | 400 | answers: expected 1 to
          {"prompt":"a","n":2,"best_of":3}         | 400 | best_of: expected as many as n
          {"prompt":"a","echo":true}               | 400 | echo: expected false
          {"prompt":"a","autocircuit":[]}          | 400 | autocircuit: expected an object, got an array
          {"prompt":"a","autocircuit":{"edge":[]}} | 400 | autocircuit.edge: expected one of
          {"prompt":"a","autocircuit":{"edges":["A0.1->MLP 9"]}}    | 400 | A0.1->MLP
          {"prompt":"a","autocircuit":{"edges":[null]}}             | 400 | autocircuit.edges[0]: expected a string
          {"prompt":"a","autocircuit":{"corrupt":"b"}}              | 400 | autocircuit.corrupt: expected none without edges
          {"prompt":"a","autocircuit":{"edges":[],"corrupt":"a b"}} | 400 | corrupt tokens: expected 2 like the prompt
          {"prompt":"a","autocircuit":{"edges":[],"donor":"free"}}  | 400 | autocircuit.donor: expected none without corrupt
          {"prompt":"a","autocircuit":{"edges":[],"at":[5,2]}}      | 400 | span: expected an end behind its begin
          {"prompt":"a","autocircuit":{"edges":[],"at":"x"}}        | 400 | autocircuit.at: expected
          {"prompt":"a","autocircuit":{"scores":"ioi","size":3}}    | 400 | autocircuit.scores: expected an object of edges
          {"prompt":"a","autocircuit":{"scores":{"x":1},"size":3}}  | 400 | x
          {"prompt":"a","autocircuit":{"scores":{}}}                | 400 | autocircuit.size: expected the number of edges
          {"prompt":"a","autocircuit":{"edges":[],"scores":{}}}     | 400 | edges or scores, not both
          {"prompt":"a","autocircuit":{"steering":[{"hook":"h","vector":[0]}]}} | 400 | unknown hook point 'h'
          {"prompt":"a","autocircuit":{"steering":[{"hook":"blocks.0.hook_resid_pre","vector":[1]}]}} | 400 | expected 96 values (d_model), got 1
          {"prompt":"a","autocircuit":{"steering":[{"hook":"blocks.0.hook_resid_pre","vector":[1e300]}]}} | 400 | steering[0].vector[0]: expected a number of 32 bits
          """)
  void whatIsWrongIsNamed(String body, int status, String message) {
    HttpResponse<String> response = SERVER.post(body);
    assertThat(response.statusCode()).as(response.body()).isEqualTo(status);
    assertThat(CompletionServerTest.error(response)).contains(message);
    assertThat(response.body()).doesNotContain("Exception", "\tat ", "org.autocircuit");
  }

  /** Clients can point at the member that is wrong. */
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '~',
      textBlock =
          """
          {"prompt":"a","max_token":1} | max_token | , got 'max_token'; did you mean 'max_tokens'?
          {"prompt":"a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a"} | prompt | the model takes 1 to 32
          {"prompt":"a","autocircuit":{"edges":["MLP 0->MLP 1","A0.1->MLP 9"]}} | autocircuit.edges[1] | did you mean
          {"prompt":"a","autocircuit":{"scores":{"x":1},"size":3}} | autocircuit.scores | did you mean
          """)
  void theMemberThatIsWrongIsNamed(String body, String member, String message) throws IOException {
    JsonNode error = new ObjectMapper().readTree(SERVER.post(body).body()).get("error");
    assertThat(error.get("param").asText()).isEqualTo(member);
    assertThat(error.get("message").asText()).contains(message);
  }

  @Test
  void whatIsNotThereIsNamed() {
    assertThat(SERVER.get("/v1/completionsx").statusCode()).isEqualTo(404);
    assertThat(SERVER.get("/").body()).contains("/v1/completions");
    HttpResponse<String> response = SERVER.get("/v1/completions");
    assertThat(response.statusCode()).isEqualTo(405);
    assertThat(response.headers().firstValue("Allow")).hasValue("POST");
    assertThat(SERVER.send(TestServer.request(SERVER.uri("/health")).DELETE().build()).statusCode())
        .isEqualTo(405);
    HttpResponse<String> head =
        SERVER.send(
            TestServer.request(SERVER.uri("/metrics"))
                .method("HEAD", BodyPublishers.noBody())
                .build());
    assertThat(head.statusCode()).isEqualTo(200);
    assertThat(head.body()).isEmpty();
  }

  /** Pages of other sites can send text and forms, and names that lead to this machine. */
  @Test
  void pagesOfOtherSitesAreRefused() throws IOException {
    for (String type : List.of("text/plain", "application/x-www-form-urlencoded")) {
      HttpResponse<String> response =
          SERVER.send(
              TestServer.request(SERVER.uri("/v1/completions"))
                  .header("Content-Type", type)
                  .POST(BodyPublishers.ofString(TestServer.body("")))
                  .build());
      assertThat(response.statusCode()).isEqualTo(415);
      assertThat(CompletionServerTest.error(response)).contains("application/json", type);
    }
    try (Socket socket =
        SERVER.connect(
            TestServer.raw(TestServer.body("")).replace("Host: localhost", "Host: evil.example"))) {
      assertThat(TestServer.readUntil(socket, "}\n")).startsWith("HTTP/1.1 421 ").contains("evil");
    }
  }

  @Test
  void textIsUtf8InBothDirections() {
    HttpResponse<String> response = SERVER.post("{\"prompt\":\"a\",\"model\":\"Zoë 😀\"}");
    assertThat(CompletionServerTest.error(response)).endsWith("got 'Zoë 😀'");
    response = SERVER.post("{\"prompt\":\"a\",\"model\":\"\\u001b[2J\\ud800\"}");
    assertThat(CompletionServerTest.error(response)).contains("model: expected whole characters");
    byte[] latin = "{\"prompt\":\"é\"}".getBytes(StandardCharsets.ISO_8859_1);
    response =
        SERVER.send(
            TestServer.request(SERVER.uri("/v1/completions"))
                .header("Content-Type", "application/json")
                .POST(BodyPublishers.ofByteArray(latin))
                .build());
    assertThat(response.statusCode()).isEqualTo(400);
    assertThat(CompletionServerTest.error(response)).contains("UTF-8");
  }

  @Test
  void hugeBodiesAreRefusedUnread() throws IOException {
    String blanks = " ".repeat(150_000);
    assertThat(SERVER.post(blanks + TestServer.body("")).statusCode()).isEqualTo(413);
    try (Socket socket =
        SERVER.connect(
            TestServer.raw("").replace("Content-Length: 0", "Content-Length: 9999999999"))) {
      TestServer.write(socket, "x".repeat(100_001));
      assertThat(TestServer.readUntil(socket, "}\n")).startsWith("HTTP/1.1 413 ");
    }
    try (Socket socket =
        SERVER.connect(
            TestServer.raw("").replace("Content-Length: 0", "Transfer-Encoding: chunked"))) {
      for (int i = 0; i < 11; i++) {
        TestServer.write(socket, "2710\r\n%s\r\n".formatted("x".repeat(10_000)));
      }
      assertThat(TestServer.readUntil(socket, "}\n")).startsWith("HTTP/1.1 413 ");
    }
    String deep = "[".repeat(50_000);
    assertThat(SERVER.post("{\"prompt\":" + deep).statusCode()).isEqualTo(400);
  }

  @Test
  void twoRequestsOnOneConnectionAreAnswered() throws IOException {
    String request = TestServer.raw(TestServer.body(""));
    try (Socket socket = SERVER.connect(request + request)) {
      assertThat(TestServer.readUntil(socket, "}\n")).contains("HTTP/1.1 200 ");
      assertThat(TestServer.readUntil(socket, "}\n")).contains("HTTP/1.1 200 ");
      // One that is refused does not spoil the connection, either.
      TestServer.write(socket, TestServer.raw("{}") + request);
      assertThat(TestServer.readUntil(socket, "}\n")).contains("HTTP/1.1 400 ");
      assertThat(TestServer.readUntil(socket, "}\n")).contains("HTTP/1.1 200 ");
    }
  }

  @Test
  void trickyHeadersAreRefused() throws IOException {
    String body = TestServer.body("");
    String request = TestServer.raw(body);
    for (String tricky :
        List.of(
            request.replace("Content-Length: ", "Content-Length: -"),
            request.replace("Content-Length: ", "Content-Length: x"),
            request.replace("POST /v1", "POST http://[/v1"),
            TestServer.raw(body, "A: " + "b".repeat(1 << 20)),
            TestServer.raw(body, headers(1000)))) {
      try (Socket socket = SERVER.connect("")) {
        String response;
        try {
          TestServer.write(socket, tricky);
          response = TestServer.readUntil(socket, "\n");
        } catch (IOException e) {
          response = ""; // cut off while it was still writing
        }
        assertThat(response)
            .as(tricky.substring(0, Math.min(tricky.length(), 300)))
            .matches("(HTTP/1.1 4\\d\\d .*\\s*)?");
      }
      assertThat(SERVER.get("/health").statusCode()).isEqualTo(200);
    }
    // Nothing that a client sends reaches the headers of an answer.
    try (Socket socket =
        SERVER.connect(TestServer.raw("{\"prompt\":\"a\",\"model\":\"x\\r\\nSet-Cookie: a\"}"))) {
      String response = TestServer.readUntil(socket, "}\n");
      assertThat(response.split("\r\n\r\n")[0]).doesNotContain("Set-Cookie");
    }
  }

  private static String[] headers(int count) {
    return IntStream.range(0, count).mapToObj("A%s: b"::formatted).toArray(String[]::new);
  }

  /** More clients than threads send nothing but a beginning, and are cut off after their time. */
  @Test
  void slowClientsAreCutOff() throws IOException {
    List<Socket> slow = new ArrayList<>();
    try {
      for (int i = 0; i < 40; i++) {
        slow.add(
            SERVER.connect(
                i % 2 == 0
                    ? "POST /v1/completions HTTP/1.1\r\nHo"
                    : TestServer.raw("   ").replace("Content-Length: 3", "Content-Length: 300")));
      }
      long begin = System.nanoTime();
      assertThat(SERVER.post(TestServer.body("")).statusCode()).isEqualTo(200);
      assertThat(System.nanoTime() - begin).isLessThan(8_000_000_000L);
      for (Socket socket : slow) {
        assertThat(TestServer.readUntil(socket, "never")).isEmpty();
      }
    } finally {
      for (Socket socket : slow) {
        socket.close();
      }
    }
  }

  /** A byte now and then is no progress: what counts is when the request is complete. */
  @Test
  void drippingClientsAreCutOff() throws Exception {
    try (Socket socket = SERVER.connect("POST /v1/completions HTTP/1.1\r\n")) {
      long begin = System.nanoTime();
      boolean cut = false;
      while (!cut && System.nanoTime() - begin < 8_000_000_000L) {
        try {
          TestServer.write(socket, "A");
          Thread.sleep(100);
        } catch (IOException e) {
          cut = true;
        }
      }
      assertThat(cut).isTrue();
    }
  }

  @Test
  void clientsThatGoAwayTakeTheirRequestsWithThem() throws IOException {
    try (LogRecords log = new LogRecords("org.autocircuit.serve", Level.WARNING);
        TestServer slow = new TestServer(generator -> generator.maxActive(1), server -> server)) {
      slow.stepMillis = 500;
      long left = 0;
      String stream = TestServer.body("\"stream\":true").replace(":6", ":16");
      for (String body : List.of(stream, TestServer.body("").replace(":6", ":16"))) {
        Socket running = slow.connect(TestServer.raw(body));
        CompletionServerTest.await(() -> slow.generator.state().active() == 1);
        Socket waiting = slow.connect(TestServer.raw(body));
        CompletionServerTest.await(() -> slow.generator.state().waiting() == 1);
        long begin = System.nanoTime();
        waiting.close();
        CompletionServerTest.await(() -> slow.generator.state().waiting() == 0);
        assertThat(System.nanoTime() - begin).isLessThan(1_000_000_000L);
        running.close();
        CompletionServerTest.await(() -> slow.generator.state().active() == 0);
        assertThat(System.nanoTime() - begin).isLessThan(2_500_000_000L); // and its step's rest
        left += 2;
        String cancelled = "autocircuit_generator_finished_total{reason=\"cancelled\"} " + left;
        assertThat(slow.get("/metrics").body()).contains(cancelled);
      }
      log.assertNone();
    }
  }
}
