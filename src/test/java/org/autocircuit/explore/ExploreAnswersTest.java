package org.autocircuit.explore;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.net.http.HttpResponse;
import java.util.List;
import java.util.stream.Collectors;
import org.autocircuit.eval.CircuitMeasures;
import org.autocircuit.generate.Donor;
import org.autocircuit.generate.GeneratedToken;
import org.autocircuit.generate.Generation;
import org.autocircuit.generate.GenerationPatch;
import org.autocircuit.generate.GenerationRequest;
import org.autocircuit.generate.Span;
import org.autocircuit.generate.Stop;
import org.autocircuit.generate.TextStream;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.prune.ScoreSign;
import org.autocircuit.text.Circuit;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Asks for measures, texts and scores. */
class ExploreAnswersTest {

  private static TestExploration exploration;

  @BeforeAll
  static void open() {
    exploration =
        new TestExploration(
            ExampleModel.open(),
            settings ->
                settings
                    .method("slow", ExploreAnswersTest::slow)
                    .method("broken", (a, p) -> broken(p)));
  }

  private static Scored slow(BatchAblation ablation, Progress progress) {
    for (int step = 1; step <= 4; step++) {
      pause();
      progress.report(step, 4);
    }
    return new Scored("slow scores", "none", ScoreSign.UNSIGNED, "", exploration.scores);
  }

  private static Scored broken(Progress progress) {
    pause();
    progress.report(1, 2);
    throw new IllegalArgumentException("no such luck");
  }

  /** Longer than the server keeps progress to itself. */
  private static void pause() {
    try {
      Thread.sleep(150);
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  @AfterAll
  static void close() {
    exploration.close();
  }

  @Test
  void circuitsAreMeasuredOnAllPrompts() {
    TextModel model = exploration.model;
    for (BatchAblation ablation : List.of(BatchAblation.RESAMPLE, BatchAblation.ZERO)) {
      Circuit circuit = model.circuit(exploration.scores, 100).withAblation(ablation);
      ObjectNode question = TestExploration.question(circuit.edges().complement());
      question.put("ablation", ablation == BatchAblation.ZERO ? "zero" : "resample");
      JsonNode said = exploration.ask("/measure", question);
      CircuitMeasures measures = model.measure(circuit, ExampleModel.prompts());
      CircuitMeasures full = model.measure(ExampleModel.prompts());
      CircuitMeasures empty =
          model.measure(
              Circuit.of(EdgeSet.none(model.graph())).withAblation(ablation),
              ExampleModel.prompts());
      assertThat(said.get("difference").doubleValue()).isEqualTo(measures.logitDifference());
      assertThat(said.get("kl").doubleValue()).isEqualTo(measures.klDivergence());
      assertThat(said.get("accuracy").doubleValue()).isEqualTo(measures.accuracy());
      assertThat(said.get("recovered").doubleValue()).isEqualTo(measures.recovered(full, empty));
    }
  }

  @Test
  void textsAreGeneratedWithAndWithoutTheCircuit() {
    TextModel model = exploration.model;
    EdgeSet patched = model.circuit(exploration.scores, 40).edges().complement();
    for (int at : List.of(-1, 10)) {
      ObjectNode question = TestExploration.question(patched).put("max_tokens", 5).put("at", at);
      GenerationPatch patch =
          GenerationPatch.resample(
              model.tokens(TestExploration.CORRUPT), Masks.ofEdges(patched), Donor.FOLLOWS);
      assertThat(generated(question, "plain")).isEqualTo(expected(GenerationPatch.NONE));
      assertThat(generated(question, "patched"))
          .isEqualTo(expected(at < 0 ? patch : patch.at(new Span(at, at + 1))));
    }
    ObjectNode zeros = TestExploration.question(patched).put("max_tokens", 5);
    assertThat(generated(zeros.put("ablation", "zero"), "patched"))
        .isEqualTo(expected(GenerationPatch.zero(Masks.ofEdges(patched))));
    assertThat(generated(zeros.put("ablation", "batch-all-tok-mean"), "patched")).isNotEmpty();
  }

  private static String generated(ObjectNode question, String side) {
    HttpResponse<String> response =
        exploration.send(exploration.post("/generate", question.toString()));
    assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
    return response
        .body()
        .lines()
        .map(TestExploration::json)
        .filter(line -> line.get("side").textValue().equals(side))
        .map(line -> line.get("text").textValue())
        .collect(Collectors.joining());
  }

  private static String expected(GenerationPatch patch) {
    GenerationRequest request =
        GenerationRequest.of(exploration.model.tokens(TestExploration.PROMPT))
            .withStop(Stop.after(5))
            .withPatch(patch);
    try (Generation generation = exploration.generator.submit(request)) {
      TextStream text =
          TextStream.after(
              exploration.model.tokenizer(),
              exploration.model.tokens(TestExploration.PROMPT),
              List.of());
      StringBuilder all = new StringBuilder();
      for (GeneratedToken token : generation) {
        all.append(text.add(token.id()));
      }
      return all.append(text.end()).toString();
    }
  }

  @Test
  void edgesAreScoredByOtherMethods() {
    HttpResponse<String> response =
        exploration.send(
            exploration.post("/scores", "{\"method\": \"slow\", \"ablation\": \"zero\"}"));
    List<String> lines = response.body().lines().toList();
    assertThat(lines).contains("{\"done\":2,\"total\":4}").endsWith("{\"ready\":true}");
    String page = exploration.page("?token=a+token+of+a+test&method=slow&ablation=zero").body();
    assertThat(page)
        .contains("\"name\":\"slow scores (zero)\"", "\"ablation\":\"zero\"")
        .contains("\"methods\":[\"eap\",\"slow\",\"broken\"]");
    // Nobody has asked for these.
    assertThat(exploration.page("?token=a+token+of+a+test&method=slow").body())
        .contains("\"ablation\":\"resample\"");
    assertThat(exploration.page("?token=a+token+of+a+test&ablation=x").statusCode()).isEqualTo(400);
    HttpResponse<String> unknown =
        exploration.send(exploration.post("/scores", "{\"method\": \"none\"}"));
    assertThat(unknown.statusCode()).isEqualTo(400);
    assertThat(unknown.body()).contains("method: expected one of");
    String broken =
        exploration.send(exploration.post("/scores", "{\"method\": \"broken\"}")).body();
    assertThat(broken.lines().toList()).endsWith("{\"problem\":\"no such luck\"}");
  }
}
