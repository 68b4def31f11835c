package org.autocircuit.serve;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.net.http.HttpRequest.BodyPublishers;
import java.util.Map;
import org.autocircuit.prune.CircuitScores;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.text.ExampleModel;
import org.junit.jupiter.api.Test;

/** Requests that name a circuit patch no more edges, and no fewer, than it says. */
class ServedCircuitsTest {

  @Test
  void aCircuitHasTheSizeThatItWasSavedWith() throws IOException {
    try (TestServer test = new TestServer()) {
      PruneScores scores = test.model.discover(ExampleModel.prompts().slice(0, 4));
      int nEdges = scores.graph().nEdges();
      try (CompletionServer server =
          CompletionServer.builder(test.model, test.generator)
              .scores("saved", new CircuitScores(scores, scores.circuit(5), Map.of()))
              .scores("all", scores)
              .start()) {
        assertThat(patched(post(test, server, "\"saved\"}"))).isEqualTo(nEdges - 5);
        assertThat(patched(post(test, server, "\"saved\",\"size\":2}"))).isEqualTo(nEdges - 2);
        assertThat(message(post(test, server, "\"saved\",\"size\":6}")))
            .isEqualTo(
                "autocircuit.size: expected the number of edges of the circuit, 0 to 5, got 6");
        assertThat(message(post(test, server, "\"all\"}"))).startsWith("autocircuit.size: ");
        String own = "{\"MLP 0->MLP 1\":2,\"A0.1->MLP 1\":1},\"size\":";
        assertThat(patched(post(test, server, own + "1}"))).isEqualTo(nEdges - 1);
        assertThat(message(post(test, server, own + "3}"))).contains("0 to 2, got 3");
      }
    }
  }

  private static int patched(JsonNode answer) {
    assertThat(answer.has("error")).as("%s", answer).isFalse();
    return answer.at("/autocircuit/patched_edges").asInt();
  }

  private static String message(JsonNode answer) {
    return answer.at("/error/message").asText();
  }

  private static JsonNode post(TestServer test, CompletionServer server, String scores) {
    String body = TestServer.body("\"autocircuit\":{\"scores\":" + scores);
    return TestServer.json(
        test.send(
                TestServer.request(server.uri().resolve("/v1/completions"))
                    .header("Content-Type", "application/json; charset=UTF-8")
                    .POST(BodyPublishers.ofString(body))
                    .build())
            .body());
  }
}
