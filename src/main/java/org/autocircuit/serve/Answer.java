package org.autocircuit.serve;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.UUID;
import org.autocircuit.generate.FinishReason;
import org.autocircuit.generate.GeneratedToken;
import org.autocircuit.internal.StrictJson;
import org.autocircuit.internal.http.Exchange;
import org.autocircuit.tokenizer.Tokenizer;

/** The response to a completion: one document at the end, or an event for each token. */
abstract sealed class Answer {

  private final String id = "cmpl-" + UUID.randomUUID().toString().replace("-", "");
  private final long created = System.currentTimeMillis() / 1000;
  private final String model;
  private final Tokenizer tokenizer;
  final Completion completion;
  final Exchange exchange;
  int count;

  private Answer(Completion completion, Served served, Exchange exchange) {
    this.completion = completion;
    this.exchange = exchange;
    model = served.name();
    tokenizer = served.model().tokenizer();
  }

  /** The answer that a request asks for. */
  static Answer to(Completion completion, Served served, Exchange exchange) {
    return completion.stream()
        ? new Streamed(completion, served, exchange)
        : new Whole(completion, served, exchange);
  }

  /** Begins, once the request has been taken. */
  abstract void begin() throws IOException;

  /** Takes a token, and the text that it completes. */
  abstract void add(GeneratedToken token, String text) throws IOException;

  /** Sends something that means nothing, which fails where the client has gone. */
  abstract void keepAlive() throws IOException;

  /** Ends, with the text that was held back. */
  abstract void end(FinishReason reason, String text) throws IOException;

  /** Ends with a failure. */
  abstract void fail(int status, String message) throws IOException;

  /** A document with tokens and their text; the reason is {@code null} before the end. */
  final ObjectNode document(List<GeneratedToken> tokens, String text, FinishReason reason) {
    ObjectNode document = StrictJson.MAPPER.createObjectNode();
    document.put("id", id).put("object", "text_completion").put("created", created);
    document.put("model", model);
    ObjectNode choice = document.putArray("choices").addObject().put("index", 0).put("text", text);
    ArrayNode ids = choice.putArray("token_ids");
    tokens.forEach(token -> ids.add(token.id()));
    if (completion.logProbs()) {
      addLogProbs(choice.putObject("logprobs"), tokens);
    } else {
      choice.putNull("logprobs");
    }
    choice.put("finish_reason", reason == null ? null : word(reason));
    return document;
  }

  private void addLogProbs(ObjectNode logProbs, List<GeneratedToken> tokens) {
    ArrayNode texts = logProbs.putArray("tokens");
    ArrayNode values = logProbs.putArray("token_logprobs");
    for (GeneratedToken token : tokens) {
      texts.add(tokenizer.hasToken(token.id()) ? tokenizer.decode(token.id()) : "");
      if (Double.isFinite(token.logProb())) {
        values.add(token.logProb());
      } else {
        values.addNull();
      }
    }
  }

  /** Says what was done, so that whoever asked can see it and repeat it. */
  final void addSummary(ObjectNode document) {
    if (completion.usage()) {
      document
          .putObject("usage")
          .put("prompt_tokens", completion.request().promptLength())
          .put("completion_tokens", count)
          .put("total_tokens", completion.request().promptLength() + count);
    }
    ObjectNode done = document.putObject("autocircuit");
    done.put("patch", completion.request().patch().kind());
    done.put("patched_edges", completion.patchedEdges());
    done.put("steering", completion.request().steering().size());
    if (completion.request().sampling().temperature() > 0) {
      done.put("seed", completion.request().sampling().seed());
    }
  }

  /** OpenAI's words where it has some. */
  private static String word(FinishReason reason) {
    return switch (reason) {
      case STOP_TOKEN, STOP_TEXT -> "stop";
      case LENGTH, CONTEXT -> "length";
      default -> reason.name().toLowerCase(Locale.ROOT);
    };
  }

  /** One document. */
  private static final class Whole extends Answer {
    private final List<GeneratedToken> tokens = new ArrayList<>();
    private final StringBuilder text = new StringBuilder();

    Whole(Completion completion, Served served, Exchange exchange) {
      super(completion, served, exchange);
    }

    @Override
    void begin() {
      // Until something is sent, what fails has a status of its own.
    }

    @Override
    void add(GeneratedToken token, String more) {
      count++;
      tokens.add(token);
      text.append(more);
    }

    @Override
    void keepAlive() throws IOException {
      if (!exchange.isBegun()) {
        exchange.begin("application/json");
      }
      exchange.write("\n"); // blanks before a document are part of JSON
    }

    @Override
    void end(FinishReason reason, String more) throws IOException {
      ObjectNode document = document(tokens, text + more, reason);
      addSummary(document);
      send(200, document);
    }

    @Override
    void fail(int status, String message) throws IOException {
      send(status, Exchange.error(status, null, message));
    }

    private void send(int status, ObjectNode document) throws IOException {
      if (exchange.isBegun()) {
        exchange.write(StrictJson.text(document) + "\n");
      } else {
        exchange.send(status, document);
      }
    }
  }

  /** Server-sent events. */
  private static final class Streamed extends Answer {

    Streamed(Completion completion, Served served, Exchange exchange) {
      super(completion, served, exchange);
    }

    @Override
    void begin() throws IOException {
      exchange.begin("text/event-stream; charset=utf-8");
      exchange.write(": taken\n\n");
    }

    @Override
    void add(GeneratedToken token, String text) throws IOException {
      count++;
      event(document(List.of(token), text, null));
    }

    @Override
    void keepAlive() throws IOException {
      exchange.write(": wait\n\n");
    }

    @Override
    void end(FinishReason reason, String text) throws IOException {
      ObjectNode last = document(List.of(), text, reason);
      addSummary(last);
      event(last);
      exchange.write("data: [DONE]\n\n");
    }

    @Override
    void fail(int status, String message) throws IOException {
      event(Exchange.error(status, null, message));
      exchange.write("data: [DONE]\n\n");
    }

    private void event(ObjectNode document) throws IOException {
      exchange.write("data: " + StrictJson.text(document) + "\n\n");
    }
  }
}
