package org.autocircuit.explore;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.autocircuit.data.PromptPair;
import org.autocircuit.data.PromptText;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.StrictJson;
import org.autocircuit.internal.http.Exchange;
import org.autocircuit.internal.http.Refusal;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.report.CircuitPage;

/** Makes the pages of scores that are known: one of them is shown, others can be compared with. */
final class Pages {

  private static final BatchAblation[] ABLATIONS = {
    BatchAblation.RESAMPLE, BatchAblation.ZERO, BatchAblation.BATCH_ALL_TOK_MEAN
  };

  private final ExploreServer.Builder settings;
  private final Scores scores;
  private final String graph;

  Pages(ExploreServer.Builder settings, Scores scores, ModelGraph graph) {
    this.settings = settings;
    this.scores = scores;
    this.graph = "%s, %s".formatted(settings.model.name(), graph);
  }

  /** Names the model and its graph. */
  String graph() {
    return graph;
  }

  /** Responds with the page of the scores that the address names, the first ones if it does not. */
  void send(Exchange exchange) throws IOException {
    String method = exchange.parameter("method");
    String ablation = exchange.parameter("ablation");
    Scores.Key first = scores.first();
    Scores.Key key =
        new Scores.Key(
            method.isEmpty() ? first.method() : method,
            ablation.isEmpty() ? first.ablation() : ablation(ablation));
    byte[] page = html(key).getBytes(StandardCharsets.UTF_8);
    exchange.send(200, "text/html; charset=utf-8", page);
  }

  private static BatchAblation ablation(String name) {
    for (BatchAblation ablation : ABLATIONS) {
      if (Question.name(ablation).equals(name)) {
        return ablation;
      }
    }
    throw Refusal.of(400, "ablation: there is none called '%s'".formatted(name));
  }

  private String html(Scores.Key key) {
    Map<Scores.Key, Scored> known = scores.known();
    // After a restart a page may ask for scores that nobody has computed yet.
    Scores.Key shown = known.containsKey(key) ? key : scores.first();
    Scored of = known.remove(shown);
    CircuitPage.Builder page =
        CircuitPage.builder(of.scores(), settings.title)
            .method(label(shown, of), of.unit(), of.sign(), of.meaning());
    known.forEach(
        (other, scored) ->
            page.other(
                label(other, scored),
                scored.unit(),
                scored.sign(),
                scored.meaning(),
                scored.scores()));
    page.fact("method", label(shown, of));
    settings.facts.forEach(page::fact);
    return page.engine(StrictJson.text(engine(shown))).build().html();
  }

  private static String label(Scores.Key key, Scored scored) {
    return key.ablation() == BatchAblation.RESAMPLE
        ? scored.name()
        : "%s (%s)".formatted(scored.name(), Question.name(key.ablation()));
  }

  /** Tells {@code page/engine.js} what it has to know. */
  private ObjectNode engine(Scores.Key shown) {
    ObjectNode json = StrictJson.MAPPER.createObjectNode();
    json.put("graph", graph).put("method", shown.method());
    json.put("ablation", Question.name(shown.ablation()));
    scores.methods().forEach(json.putArray("methods")::add);
    ArrayNode ablations = json.putArray("ablations");
    for (BatchAblation ablation : ABLATIONS) {
      ablations.add(Question.name(ablation));
    }
    json.put("prompts", settings.prompts.size());
    PromptPair pair = settings.prompts.prompts().get(0);
    json.putObject("state")
        .put("clean", text(pair.clean()))
        .put("corrupt", text(pair.corrupt()))
        .put("answer", "")
        .put("wrong", "")
        .put("base", "circuit")
        .put("hand", "")
        .put("ablation", Question.name(shown.ablation()))
        .put("at", Question.EVERYWHERE);
    return json;
  }

  private static String text(PromptText text) {
    return text instanceof PromptText.Text ? text.toString() : "";
  }
}
