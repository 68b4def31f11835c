package org.autocircuit.serve;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.function.BooleanSupplier;
import java.util.stream.Stream;
import org.autocircuit.generate.Donor;
import org.autocircuit.generate.Generation;
import org.autocircuit.generate.GenerationPatch;
import org.autocircuit.generate.GenerationRequest;
import org.autocircuit.generate.Span;
import org.autocircuit.generate.Steering;
import org.autocircuit.generate.Stop;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.patch.Masks;
import org.autocircuit.prune.CircuitSelection;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.text.ExampleModel;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;

/** Completions over HTTP are those of the generator, and end with their clients. */
class CompletionServerTest {

  private static final String EDGES =
      "\"edges\":[\"A3.0->Resid End\",\"A3.4->Resid End\",\"A2.1->Resid End\"]";
  private static final String PATCHED =
      "\"autocircuit\":{\"corrupt\":\"%s\",%s}".formatted(TestServer.CORRUPT, EDGES);

  private static final TestServer SERVER = new TestServer();

  @AfterAll
  static void close() {
    SERVER.close();
  }

  private static JsonNode answer(String others) {
    HttpResponse<String> response = SERVER.post(TestServer.body(others));
    assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
    assertThat(response.headers().firstValue("Content-Type")).hasValue("application/json");
    return TestServer.json(response.body());
  }

  private static GenerationRequest request() {
    return GenerationRequest.of(SERVER.model.tokens(TestServer.PROMPT)).withStop(Stop.after(6));
  }

  private static long[] generated(GenerationRequest request) {
    try (Generation generation = SERVER.generator.submit(request)) {
      return generation.result().join().ids();
    }
  }

  private static Masks masks() {
    return Masks.ofNames(
        SERVER.model.graph(), List.of("A3.0->Resid End", "A3.4->Resid End", "A2.1->Resid End"));
  }

  private static GenerationPatch resample(Donor donor) {
    return GenerationPatch.resample(SERVER.model.tokens(TestServer.CORRUPT), masks(), donor);
  }

  @Test
  void tokensAreThoseOfTheGenerator() {
    JsonNode answer = answer("");
    assertThat(TestServer.ids(answer)).containsExactly(generated(request()));
    assertThat(answer.at("/object").asText()).isEqualTo("text_completion");
    assertThat(answer.at("/model").asText()).isEqualTo(SERVER.model.name());
    assertThat(answer.at("/choices/0/text").asText()).startsWith(" Mary");
    assertThat(answer.at("/choices/0/finish_reason").asText()).isEqualTo("length");
    assertThat(answer.at("/usage/completion_tokens").asInt()).isEqualTo(6);
    assertThat(answer.at("/usage/prompt_tokens").asInt())
        .isEqualTo(SERVER.model.tokens(TestServer.PROMPT).length);
    assertThat(answer.at("/autocircuit/patch").asText()).isEqualTo("none");
  }

  @Test
  void patchedTokensAreThoseOfTheGenerator() {
    long[] plain = generated(request());
    long[] patched = generated(request().withPatch(resample(Donor.FOLLOWS)));
    assertThat(patched).isNotEqualTo(plain);
    JsonNode answer = answer(PATCHED);
    assertThat(TestServer.ids(answer)).containsExactly(patched);
    assertThat(answer.at("/autocircuit/patch").asText()).isEqualTo("resample");
    assertThat(answer.at("/autocircuit/patched_edges").asInt()).isEqualTo(3);

    assertThat(TestServer.ids(answer("\"autocircuit\":{%s}".formatted(EDGES))))
        .containsExactly(generated(request().withPatch(GenerationPatch.zero(masks()))));
    assertThat(
            TestServer.ids(
                answer(PATCHED.replace("{\"corrupt\"", "{\"donor\":\"free\",\"corrupt\""))))
        .containsExactly(generated(request().withPatch(resample(Donor.FREE))));
    assertThat(
            TestServer.ids(
                answer(PATCHED.replace("{\"corrupt\"", "{\"at\":\"answer\",\"corrupt\""))))
        .containsExactly(generated(request().withPatch(resample(Donor.FOLLOWS).at(Span.ANSWER))));
    assertThat(
            TestServer.ids(answer(PATCHED.replace("{\"corrupt\"", "{\"at\":[3,15],\"corrupt\""))))
        .containsExactly(
            generated(request().withPatch(resample(Donor.FOLLOWS).at(new Span(3, 15)))));
  }

  @Test
  void circuitsAreChosenByScores() throws IOException {
    PruneScores scores = SERVER.model.discover(ExampleModel.prompts().slice(0, 4));
    GenerationPatch patch =
        GenerationPatch.resample(
            SERVER.model.tokens(TestServer.CORRUPT),
            Masks.allBut(CircuitSelection.top(40).of(scores)),
            Donor.FOLLOWS);
    long[] expected = generated(request().withPatch(patch));
    StringBuilder all = new StringBuilder();
    EdgeSet.all(scores.graph())
        .indices()
        .forEach(
            index ->
                all.append(all.length() == 0 ? "" : ",")
                    .append('"')
                    .append(scores.graph().edge(index))
                    .append("\":")
                    .append(scores.get(index)));
    String circuit =
        "\"autocircuit\":{\"corrupt\":\"%s\",\"scores\":%%s,\"size\":40}"
            .formatted(TestServer.CORRUPT);
    JsonNode answer = answer(circuit.formatted("{" + all + "}"));
    assertThat(TestServer.ids(answer)).containsExactly(expected);
    assertThat(answer.at("/autocircuit/patched_edges").asInt())
        .isEqualTo(scores.graph().nEdges() - 40);

    try (CompletionServer named =
        CompletionServer.builder(SERVER.model, SERVER.generator)
            .scores("ioi", scores)
            .name("names")
            .start()) {
      HttpResponse<String> response =
          SERVER.send(
              TestServer.request(named.uri().resolve("/v1/completions"))
                  .header("Content-Type", "application/json; charset=UTF-8")
                  .POST(
                      BodyPublishers.ofString(
                          TestServer.body("\"model\":\"names\"," + circuit.formatted("\"ioi\""))))
                  .build());
      assertThat(TestServer.ids(TestServer.json(response.body()))).containsExactly(expected);
    }
  }

  @Test
  void vectorsSteer() {
    float[] vector = new float[96];
    vector[3] = 40;
    StringBuilder json = new StringBuilder("[0");
    for (int i = 1; i < vector.length; i++) {
      json.append(i == 3 ? ",20" : ",0");
    }
    long[] steered =
        generated(request().withSteering(Steering.of("blocks.1.hook_resid_post", vector)));
    assertThat(steered).isNotEqualTo(generated(request()));
    assertThat(
            TestServer.ids(
                answer(
                    ("\"autocircuit\":{\"steering\":[{\"hook\":\"blocks.1.hook_resid_post\","
                            + "\"factor\":2,\"vector\":%s]}]}")
                        .formatted(json))))
        .containsExactly(steered);
  }

  @Test
  void drawnTokensCanBeDrawnAgain() {
    JsonNode first = answer("\"temperature\":1.5,\"top_p\":0.9,\"top_k\":50");
    long seed = first.at("/autocircuit/seed").longValue();
    JsonNode second =
        answer("\"temperature\":1.5,\"top_p\":0.9,\"top_k\":50,\"seed\":%s".formatted(seed));
    assertThat(TestServer.ids(second)).containsExactly(TestServer.ids(first));
  }

  @Test
  void promptsMayBeTokensAndEndAtTexts() {
    long[] tokens = SERVER.model.tokens(TestServer.PROMPT);
    JsonNode answer =
        TestServer.json(
            SERVER
                .post(
                    "{\"prompt\":%s,\"max_tokens\":6,\"logprobs\":0}"
                        .formatted(Arrays.toString(tokens)))
                .body());
    assertThat(TestServer.ids(answer)).containsExactly(generated(request()));
    assertThat(answer.at("/choices/0/logprobs/token_logprobs").size()).isEqualTo(6);
    assertThat(answer.at("/choices/0/logprobs/token_logprobs/0").doubleValue())
        .isBetween(-0.01, -0.005);
    assertThat(answer.at("/choices/0/logprobs/tokens/0").asText()).contains("Mary");

    JsonNode stopped = answer("\"stop\":[\"zzz\",\"Mary\"]");
    assertThat(stopped.at("/choices/0/text").asText().strip()).isEmpty();
    assertThat(stopped.at("/choices/0/finish_reason").asText()).isEqualTo("stop");
  }

  @Test
  void whatOpenAiClientsSendAlongIsTaken() {
    assertThat(
            answer(
                    "\"model\":\"%s\",\"n\":1,\"best_of\":1,\"echo\":false,\"user\":\"me\",\"suffix\":null"
                            .formatted(SERVER.model.name())
                        + ",\"presence_penalty\":0,\"frequency_penalty\":0.0,\"logit_bias\":{},"
                        + "\"stop\":null,\"seed\":null,\"logprobs\":null,\"stream\":false")
                .at("/choices")
                .size())
        .isEqualTo(1);
  }

  @Test
  void streamsComeTokenByToken() throws Exception {
    try (TestServer slow = new TestServer()) {
      slow.stepMillis = 40;
      long begin = System.nanoTime();
      List<Long> times = new ArrayList<>();
      List<String> events = new ArrayList<>();
      HttpResponse<Stream<String>> response =
          slow.client.send(
              slow.completion(
                  TestServer.body(
                      PATCHED
                          + ",\"stream\":true,\"logprobs\":0,\"stream_options\":{\"include_usage\":true}")),
              BodyHandlers.ofLines());
      assertThat(response.headers().firstValue("Content-Type"))
          .hasValue("text/event-stream; charset=utf-8");
      response
          .body()
          .filter(line -> line.startsWith("data: "))
          .forEach(
              line -> {
                events.add(line.substring("data: ".length()));
                times.add(System.nanoTime() - begin);
              });
      assertThat(events).hasSize(8); // six tokens, the end, and [DONE]
      assertThat(events.get(7)).isEqualTo("[DONE]");
      assertThat(times.get(6) - times.get(0)).isGreaterThan(times.get(6) / 2);

      StringBuilder text = new StringBuilder();
      List<Long> ids = new ArrayList<>();
      for (String event : events.subList(0, 7)) {
        JsonNode document = TestServer.json(event);
        text.append(document.at("/choices/0/text").asText());
        for (long id : TestServer.ids(document)) {
          ids.add(id);
        }
      }
      JsonNode whole = answer(PATCHED);
      assertThat(ids)
          .containsExactlyElementsOf(Arrays.stream(TestServer.ids(whole)).boxed().toList());
      assertThat(text).hasToString(whole.at("/choices/0/text").asText());
      assertThat(TestServer.json(events.get(0)).at("/choices/0/finish_reason").isNull()).isTrue();
      JsonNode last = TestServer.json(events.get(6));
      assertThat(last.at("/choices/0/finish_reason").asText()).isEqualTo("length");
      assertThat(last.at("/usage/total_tokens").asInt()).isPositive();
      assertThat(last.at("/autocircuit/patch").asText()).isEqualTo("resample");
    }
  }

  @Test
  void parallelRequestsBeyondTheQueueAreRefused() {
    try (TestServer small = new TestServer(generator -> generator.maxActive(2).queue(5), s -> s)) {
      small.stepMillis = 150;
      List<CompletableFuture<HttpResponse<String>>> responses = new ArrayList<>();
      for (int i = 0; i < 100; i++) {
        responses.add(
            small.client.sendAsync(small.completion(TestServer.body("")), BodyHandlers.ofString()));
      }
      int answered = 0;
      for (CompletableFuture<HttpResponse<String>> response : responses) {
        HttpResponse<String> got = response.join();
        if (got.statusCode() == 429) {
          assertThat(got.headers().firstValue("Retry-After")).hasValue("1");
          assertThat(error(got)).contains("5 requests wait");
        } else {
          assertThat(got.statusCode()).isEqualTo(200);
          assertThat(TestServer.ids(TestServer.json(got.body())))
              .containsExactly(generated(request()));
          answered++;
        }
      }
      // On a busy machine some end before the hundredth has come, and make room for others.
      assertThat(answered).isBetween(7, 50);
      assertThat(small.get("/metrics").body())
          .contains(
              "autocircuit_generator_refused_total{reason=\"queue_full\"} " + (100 - answered));
    }
  }

  @Test
  void oneHundredAtOnceGetTheTokensOfOne() {
    try (TestServer large = new TestServer(generator -> generator.queue(100), s -> s)) {
      long[] expected = generated(request());
      List<CompletableFuture<HttpResponse<String>>> responses = new ArrayList<>();
      for (int i = 0; i < 100; i++) {
        String others = i % 2 == 0 ? "" : PATCHED;
        responses.add(
            large.client.sendAsync(
                large.completion(TestServer.body(others)), BodyHandlers.ofString()));
      }
      long[] patched = TestServer.ids(answer(PATCHED));
      for (int i = 0; i < 100; i++) {
        assertThat(TestServer.ids(TestServer.json(responses.get(i).join().body())))
            .containsExactly(i % 2 == 0 ? expected : patched);
      }
    }
  }

  @Test
  void whatDoesNotFitIsRefused() {
    try (TestServer tiny = new TestServer(generator -> generator.kvBytes(1000), s -> s)) {
      HttpResponse<String> response = tiny.post(TestServer.body(""));
      assertThat(response.statusCode()).isEqualTo(503);
      assertThat(error(response)).contains("bytes");
      tiny.generator.close();
      assertThat(tiny.post(TestServer.body("")).statusCode()).isEqualTo(503);
    }
  }

  @Test
  void requestsEndAtTheirTime() {
    try (TestServer slow =
        new TestServer(g -> g, server -> server.timeLimit(Duration.ofMillis(300)))) {
      slow.stepMillis = 100;
      HttpResponse<String> response =
          slow.post(TestServer.body("").replace("\"max_tokens\":6", "\"max_tokens\":16"));
      assertThat(response.statusCode()).isEqualTo(200);
      JsonNode answer = TestServer.json(response.body()); // blanks came before it
      assertThat(response.body()).startsWith("\n");
      assertThat(answer.at("/choices/0/finish_reason").asText()).isEqualTo("deadline");
    }
  }

  @Test
  void closingTellsThoseThatWait() {
    TestServer slow = new TestServer();
    slow.stepMillis = 100;
    String body = TestServer.body("\"stream\":true").replace(":6", ":16");
    CompletableFuture<HttpResponse<String>> stream =
        slow.client.sendAsync(slow.completion(body), BodyHandlers.ofString());
    await(() -> slow.generator.state().active() == 1);
    long begin = System.nanoTime();
    slow.close();
    assertThat(System.nanoTime() - begin).isLessThan(1_500_000_000L);
    assertThat(stream.join().body()).contains("the server is closing");
    slow.server.close(); // does nothing
  }

  @Test
  void operatorsSeeTheState() {
    assertThat(TestServer.json(SERVER.get("/health").body()).at("/status").asText())
        .isEqualTo("ok");
    JsonNode models = TestServer.json(SERVER.get("/v1/models").body());
    assertThat(models.at("/data/0/id").asText()).isEqualTo(SERVER.model.name());
    answer("");
    HttpResponse<String> metrics = SERVER.get("/metrics");
    assertThat(metrics.headers().firstValue("Content-Type"))
        .hasValue("text/plain; version=0.0.4; charset=utf-8");
    assertThat(metrics.body().lines())
        .allMatch(
            line ->
                line.matches("# (HELP|TYPE) \\w+ .+")
                    || line.matches("\\w+(\\{reason=\"\\w+\"\\})? \\d+"))
        .anyMatch(line -> line.matches("autocircuit_generator_tokens_total [1-9]\\d*"))
        .contains("autocircuit_generator_active 0", "autocircuit_generator_waiting 0");
  }

  @Test
  void anAddressThatIsTakenIsNamed() {
    assertThatThrownBy(
            () ->
                CompletionServer.builder(SERVER.model, SERVER.generator)
                    .port(SERVER.server.uri().getPort())
                    .start())
        .isInstanceOf(IOException.class)
        .hasMessageContaining("127.0.0.1 port " + SERVER.server.uri().getPort());
  }

  static String error(HttpResponse<String> response) {
    return TestServer.json(response.body()).at("/error/message").asText();
  }

  static void await(BooleanSupplier condition) {
    long end = System.nanoTime() + 10_000_000_000L;
    while (!condition.getAsBoolean()) {
      assertThat(System.nanoTime()).as("in time").isLessThan(end);
      Thread.onSpinWait();
    }
  }
}
