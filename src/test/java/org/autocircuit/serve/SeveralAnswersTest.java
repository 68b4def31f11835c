package org.autocircuit.serve;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.autocircuit.generate.FinishReason;
import org.autocircuit.generate.Generation;
import org.autocircuit.generate.GenerationRequest;
import org.autocircuit.generate.Sampling;
import org.autocircuit.generate.Stop;
import org.autocircuit.generate.TokenLogProb;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;

/** Several answers to one prompt over HTTP, and what else was probable. */
class SeveralAnswersTest {

  private static final TestServer SERVER = new TestServer();
  private static final String DRAWN = "\"temperature\":1.5,\"seed\":5,\"n\":3";

  @AfterAll
  static void close() {
    SERVER.close();
  }

  /** The answers that separate requests get. */
  private static List<Generation> separate() {
    List<Generation> answers = new ArrayList<>();
    for (int i = 0; i < 3; i++) {
      Generation answer =
          SERVER.generator.submit(
              GenerationRequest.of(SERVER.model.tokens(TestServer.PROMPT))
                  .withSampling(Sampling.RANDOM.withTemperature(1.5).withSeed(5 + i))
                  .withLogProbs(4)
                  .withStop(Stop.after(6)));
      answer.result().join();
      answers.add(answer);
    }
    return answers;
  }

  private static List<Long> ids(JsonNode choice) {
    List<Long> ids = new ArrayList<>();
    choice.at("/token_ids").forEach(id -> ids.add(id.longValue()));
    return ids;
  }

  private static List<Long> ids(Generation generation) {
    return generation.tokens().stream().map(token -> (long) token.id()).toList();
  }

  @Test
  void answersAreThoseOfSeparateRequests() {
    List<Generation> separate = separate();
    JsonNode answer = TestServer.json(SERVER.post(TestServer.body(DRAWN)).body());
    assertThat(answer.at("/choices").size()).isEqualTo(3);
    for (int i = 0; i < 3; i++) {
      JsonNode choice = answer.at("/choices/" + i);
      assertThat(choice.at("/index").asInt()).isEqualTo(i);
      assertThat(choice.at("/finish_reason").asText()).isEqualTo("length");
      assertThat(ids(choice)).isEqualTo(ids(separate.get(i)));
    }
    assertThat(answer.at("/usage/completion_tokens").asInt()).isEqualTo(18);
    assertThat(answer.at("/autocircuit/seed").asLong()).isEqualTo(5);
  }

  @Test
  void streamsTellWhichAnswerATokenIsOf() {
    List<Generation> separate = separate();
    String body =
        SERVER
            .post(
                TestServer.body(
                    DRAWN + ",\"stream\":true,\"stream_options\":{\"include_usage\":true}"))
            .body();
    List<String> events =
        body.lines()
            .filter(line -> line.startsWith("data: "))
            .map(line -> line.substring("data: ".length()))
            .toList();
    assertThat(events).hasSize(3 * 7 + 1).endsWith("[DONE]");
    Map<Integer, List<Long>> got = new TreeMap<>();
    Map<Integer, String> ends = new TreeMap<>();
    for (int i = 0; i < events.size() - 1; i++) {
      JsonNode document = TestServer.json(events.get(i));
      JsonNode choice = document.at("/choices/0");
      int index = choice.at("/index").asInt();
      got.computeIfAbsent(index, key -> new ArrayList<>()).addAll(ids(choice));
      if (!choice.at("/finish_reason").isNull()) {
        ends.put(index, choice.at("/finish_reason").asText());
      }
      assertThat(document.has("autocircuit")).isEqualTo(i == events.size() - 2);
      assertThat(document.has("usage")).isEqualTo(i == events.size() - 2);
    }
    for (int i = 0; i < 3; i++) {
      assertThat(got.get(i)).isEqualTo(ids(separate.get(i)));
    }
    assertThat(ends).isEqualTo(Map.of(0, "length", 1, "length", 2, "length"));
  }

  @Test
  void theMostProbableTokensComeWithTheirText() {
    Generation want = separate().get(0);
    JsonNode answer =
        TestServer.json(
            SERVER.post(TestServer.body("\"temperature\":1.5,\"seed\":5,\"logprobs\":4")).body());
    JsonNode logProbs = answer.at("/choices/0/logprobs");
    assertThat(logProbs.at("/top_logprobs").size()).isEqualTo(6);
    for (int step = 0; step < 6; step++) {
      JsonNode top = logProbs.at("/top_logprobs/" + step);
      Map<String, Double> expected = new TreeMap<>();
      for (TokenLogProb each : want.logProbs(step)) {
        expected.putIfAbsent(SERVER.model.tokenizer().decode(each.id()), each.logProb());
      }
      String chosen = logProbs.at("/tokens/" + step).asText();
      expected.putIfAbsent(chosen, logProbs.at("/token_logprobs/" + step).asDouble());
      Map<String, Double> got = new TreeMap<>();
      top.properties().forEach(each -> got.put(each.getKey(), each.getValue().asDouble()));
      assertThat(got).isEqualTo(expected);
    }
    JsonNode without = TestServer.json(SERVER.post(TestServer.body("\"logprobs\":true")).body());
    assertThat(without.at("/choices/0/logprobs/token_logprobs").size()).isEqualTo(6);
    assertThat(without.at("/choices/0/logprobs").has("top_logprobs")).isFalse();
  }

  @Test
  void aClientThatGoesTakesAllAnswersWithIt() throws Exception {
    try (TestServer server = new TestServer()) {
      server.stepMillis = 20;
      try (var socket =
          server.connect(
              TestServer.raw("{\"prompt\":\"When\",\"max_tokens\":100,\"stream\":true,\"n\":3}"))) {
        TestServer.readUntil(socket, "data: ");
        socket.setSoLinger(true, 0);
      }
      while (server.generator.state().active() > 0) {
        Thread.sleep(5);
      }
      assertThat(server.generator.state().finished()).containsEntry(FinishReason.CANCELLED, 3L);
    }
  }
}
