package org.autocircuit.explore;

import java.io.IOException;
import java.util.Map;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.internal.StrictJson;
import org.autocircuit.internal.http.Exchange;
import org.autocircuit.internal.http.Members;
import org.autocircuit.internal.http.Refusal;
import org.autocircuit.internal.http.Watchdog;
import org.autocircuit.patch.BatchAblation;

/** Answers the requests of pages. Safe for use by several threads. */
final class Routes {

  private static final int MAX_TOKENS = 200;

  private interface Route {
    void handle(Exchange exchange) throws IOException;
  }

  private final Engine engine;
  private final Scores scores;
  private final String graph;
  private final Watchdog watchdog;
  private final Task task;
  private final Answers answers;
  private final Code code;
  private final Map<String, Route> routes =
      Map.of(
          "/health", this::health,
          "/run", this::run,
          "/measure", this::measure,
          "/scores", this::score,
          "/generate", this::generate,
          "/code", this::code);

  Routes(
      ExploreServer.Builder settings,
      Engine engine,
      Scores scores,
      String graph,
      Watchdog watchdog) {
    this.engine = engine;
    this.scores = scores;
    this.graph = graph;
    this.watchdog = watchdog;
    task = new Task(settings.model, settings.prompts);
    answers = new Answers(settings.generator, engine, watchdog);
    code = new Code(settings.model, settings.folder);
  }

  /** Answers a request by its path. */
  void handle(Exchange exchange) throws IOException {
    Route route = routes.get(exchange.path());
    if (route == null) {
      throw Refusal.of(
          404, "path: expected one of %s".formatted(routes.keySet().stream().sorted().toList()));
    }
    route.handle(exchange);
  }

  /** Says which graph is here, so that a page knows whether it is still its own. */
  private void health(Exchange exchange) throws IOException {
    exchange.send(200, StrictJson.MAPPER.createObjectNode().put("graph", graph).put("ok", true));
  }

  private Question question(Members members) {
    Question question = Question.read(members, engine.graph());
    members.refuseOthers();
    return question;
  }

  private void run(Exchange exchange) throws IOException {
    Question question = question(Members.of(exchange.readObject()));
    exchange.send(
        200, computed(() -> Next.of(engine.answer(question), engine.model().tokenizer())));
  }

  /** Measures on all prompts of the task what the edges do that are not patched. */
  private void measure(Exchange exchange) throws IOException {
    Question question = question(Members.of(exchange.readObject()));
    EdgeSet kept = question.patched().complement();
    exchange.send(200, computed(() -> task.json(kept, question.ablation())));
  }

  private void score(Exchange exchange) throws IOException {
    Members members = Members.of(exchange.readObject());
    String method = members.text("method", "");
    BatchAblation ablation = Question.ablation(members.text("ablation", "resample"), members);
    members.refuseOthers();
    answers.score(exchange, scores, new Scores.Key(method, ablation));
  }

  private void generate(Exchange exchange) throws IOException {
    Members members = Members.of(exchange.readObject());
    int maxTokens = Math.min(members.integer("max_tokens", 1, MAX_TOKENS), MAX_TOKENS);
    answers.generate(exchange, question(members), maxTokens);
  }

  private void code(Exchange exchange) throws IOException {
    Question question = question(Members.of(exchange.readObject()));
    exchange.send(
        200,
        StrictJson.MAPPER
            .createObjectNode()
            .put("java", code.java(question))
            .put("command", code.command(question)));
  }

  private interface Computation<T> {
    T run() throws IOException;
  }

  /** Computes, which is not the client's time. */
  private <T> T computed(Computation<T> computation) throws IOException {
    watchdog.pause();
    try {
      return computation.run();
    } finally {
      watchdog.resume();
    }
  }
}
