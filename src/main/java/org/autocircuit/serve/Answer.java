package org.autocircuit.serve;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.DoubleNode;
import com.fasterxml.jackson.databind.node.NullNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.UUID;
import org.autocircuit.generate.FinishReason;
import org.autocircuit.generate.GeneratedToken;
import org.autocircuit.generate.Generation;
import org.autocircuit.generate.TextStream;
import org.autocircuit.generate.TokenLogProb;
import org.autocircuit.internal.StrictJson;
import org.autocircuit.internal.http.Exchange;
import org.autocircuit.tokenizer.Tokenizer;

/** The response to a completion: one document at the end, or an event for each token. */
abstract sealed class Answer {

  private final String id = "cmpl-" + UUID.randomUUID().toString().replace("-", "");
  private final long created = System.currentTimeMillis() / 1000;
  private final String model;
  private final Tokenizer tokenizer;
  private final List<Choice> choices = new ArrayList<>();
  private final Completion completion;
  private final Exchange exchange;
  private int count;
  private int open;

  /** One of the answers to the prompt, of which there may be several. */
  private static final class Choice {
    final int index;
    final TextStream stream;

    /** The part of it that has not been sent. */
    final List<GeneratedToken> tokens = new ArrayList<>();

    final List<List<TokenLogProb>> best = new ArrayList<>();
    final StringBuilder text = new StringBuilder();
    FinishReason reason;
    int count;

    Choice(int index, TextStream stream) {
      this.index = index;
      this.stream = stream;
    }
  }

  private Answer(Completion completion, Served served, Exchange exchange) {
    this.completion = completion;
    this.exchange = exchange;
    model = served.name();
    tokenizer = served.model().tokenizer();
    open = completion.answers();
    for (int i = 0; i < open; i++) {
      choices.add(new Choice(i, completion.texts().get()));
    }
  }

  /** The answer that a request asks for. */
  static Answer to(Completion completion, Served served, Exchange exchange) {
    return completion.stream()
        ? new Streamed(completion, served, exchange)
        : new Whole(completion, served, exchange);
  }

  /** Begins, once the request has been taken. */
  abstract void begin() throws IOException;

  /** Sends something that means nothing, which fails where the client has gone. */
  abstract void keepAlive() throws IOException;

  /** Some of a choice is there, or its end. */
  abstract void changed(Choice choice) throws IOException;

  abstract void sendFailure(int status, ObjectNode document) throws IOException;

  /** Takes the next token of a choice. */
  final void add(int index, GeneratedToken token, Generation generation) throws IOException {
    Choice choice = choices.get(index);
    count++;
    choice.tokens.add(token);
    choice.best.add(generation.logProbs(choice.count++));
    choice.text.append(choice.stream.add(token.id()));
    changed(choice);
  }

  /** Ends a choice. */
  final void end(int index, FinishReason reason) throws IOException {
    Choice choice = choices.get(index);
    choice.text.append(choice.stream.end());
    choice.reason = reason;
    open--;
    changed(choice);
  }

  /** Ends with a failure. */
  final void fail(int status, String message) throws IOException {
    open = 0;
    sendFailure(status, Exchange.error(status, null, message));
  }

  /** Returns whether nothing more is sent. */
  final boolean isEnded() {
    return open == 0;
  }

  /** A document with what has not been sent of some choices; the last one has the summary. */
  private ObjectNode document(List<Choice> some) {
    ObjectNode document = StrictJson.MAPPER.createObjectNode();
    document.put("id", id).put("object", "text_completion").put("created", created);
    document.put("model", model);
    ArrayNode all = document.putArray("choices");
    some.forEach(choice -> write(choice, all.addObject()));
    if (isEnded()) {
      addSummary(document);
    }
    return document;
  }

  private void write(Choice choice, ObjectNode into) {
    into.put("index", choice.index).put("text", choice.text.toString());
    ArrayNode ids = into.putArray("token_ids");
    choice.tokens.forEach(token -> ids.add(token.id()));
    if (completion.logProbs()) {
      addLogProbs(into.putObject("logprobs"), choice);
    } else {
      into.putNull("logprobs");
    }
    into.put("finish_reason", choice.reason == null ? null : word(choice.reason));
    choice.tokens.clear();
    choice.best.clear();
    choice.text.setLength(0);
  }

  private void addLogProbs(ObjectNode logProbs, Choice choice) {
    ArrayNode texts = logProbs.putArray("tokens");
    ArrayNode values = logProbs.putArray("token_logprobs");
    ArrayNode top = completion.request().logProbs() > 0 ? logProbs.putArray("top_logprobs") : null;
    for (int i = 0; i < choice.tokens.size(); i++) {
      GeneratedToken token = choice.tokens.get(i);
      texts.add(text(token.id()));
      values.add(number(token.logProb()));
      if (top != null) {
        // The token itself is always there. Tokens with the same text are one, the most probable.
        ObjectNode best = top.addObject();
        choice.best.get(i).forEach(each -> putIfAbsent(best, each.id(), each.logProb()));
        putIfAbsent(best, token.id(), token.logProb());
      }
    }
  }

  private void putIfAbsent(ObjectNode best, int tokenId, double logProb) {
    String text = text(tokenId);
    if (!best.has(text)) {
      best.set(text, number(logProb));
    }
  }

  private String text(int tokenId) {
    return tokenizer.hasToken(tokenId) ? tokenizer.decode(tokenId) : "";
  }

  private static JsonNode number(double value) {
    return Double.isFinite(value) ? DoubleNode.valueOf(value) : NullNode.getInstance();
  }

  /** Says what was done, so that whoever asked can see it and repeat it. */
  private void addSummary(ObjectNode document) {
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

    Whole(Completion completion, Served served, Exchange exchange) {
      super(completion, served, exchange);
    }

    @Override
    void begin() {
      // Until something is sent, what fails has a status of its own.
    }

    @Override
    void keepAlive() throws IOException {
      if (!super.exchange.isBegun()) {
        super.exchange.begin("application/json");
      }
      super.exchange.write("\n"); // blanks before a document are part of JSON
    }

    @Override
    void changed(Choice choice) throws IOException {
      if (isEnded()) {
        send(200, super.document(super.choices));
      }
    }

    @Override
    void sendFailure(int status, ObjectNode document) throws IOException {
      send(status, document);
    }

    private void send(int status, ObjectNode document) throws IOException {
      if (super.exchange.isBegun()) {
        super.exchange.write(StrictJson.text(document) + "\n");
      } else {
        super.exchange.send(status, document);
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
      super.exchange.begin("text/event-stream; charset=utf-8");
      super.exchange.write(": taken\n\n");
    }

    @Override
    void keepAlive() throws IOException {
      super.exchange.write(": wait\n\n");
    }

    @Override
    void changed(Choice choice) throws IOException {
      send(super.document(List.of(choice)));
    }

    @Override
    void sendFailure(int status, ObjectNode document) throws IOException {
      send(document);
    }

    private void send(ObjectNode document) throws IOException {
      super.exchange.write("data: " + StrictJson.text(document) + "\n\n");
      if (isEnded()) {
        super.exchange.write("data: [DONE]\n\n");
      }
    }
  }
}
