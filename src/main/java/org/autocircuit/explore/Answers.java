package org.autocircuit.explore;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.autocircuit.generate.Donor;
import org.autocircuit.generate.GeneratedToken;
import org.autocircuit.generate.Generation;
import org.autocircuit.generate.GenerationPatch;
import org.autocircuit.generate.GenerationRequest;
import org.autocircuit.generate.Generator;
import org.autocircuit.generate.Span;
import org.autocircuit.generate.Stop;
import org.autocircuit.generate.TextStream;
import org.autocircuit.internal.StrictJson;
import org.autocircuit.internal.http.Exchange;
import org.autocircuit.internal.http.Watchdog;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;

/**
 * Answers that come piece by piece, a line of JSON each: two generated texts, and how far scores
 * are. A line with a {@code problem} ends one that failed on its way.
 */
final class Answers {

  private static final String LINES = "application/x-ndjson";
  private static final long QUIET_NANOS = TimeUnit.MILLISECONDS.toNanos(100);

  private final Generator generator;
  private final Engine engine;
  private final Watchdog watchdog;

  Answers(Generator generator, Engine engine, Watchdog watchdog) {
    this.generator = generator;
    this.engine = engine;
    this.watchdog = watchdog;
  }

  /** Sends scores' progress, and at the end that they are there. */
  void score(Exchange exchange, Scores scores, Scores.Key key) throws IOException {
    long[] last = {System.nanoTime()};
    Progress progress =
        (done, total) -> {
          long now = System.nanoTime();
          if (now - last[0] >= QUIET_NANOS) {
            last[0] = now;
            write(exchange, line().put("done", done).put("total", total));
          }
        };
    watchdog.pause();
    try {
      scores.compute(key, progress);
    } finally {
      watchdog.resume();
    }
    write(exchange, line().put("ready", true));
  }

  /** Sends what the model says after the prompt with and without edges patched, token by token. */
  void generate(Exchange exchange, Question question, int maxTokens) throws IOException {
    engine.with(
        question,
        pair -> {
          GenerationRequest plain =
              GenerationRequest.of(pair.clean()).withStop(Stop.after(maxTokens));
          try (Side left = new Side("plain", plain, pair);
              Side right = new Side("patched", plain.withPatch(patch(question, pair)), pair)) {
            // Both run at once, so neither is waited for long.
            while (!left.ended || !right.ended) {
              left.send(exchange);
              right.send(exchange);
            }
          }
          return null;
        });
  }

  private static GenerationPatch patch(Question question, Pair pair) {
    Masks masks = Masks.ofEdges(question.patched());
    GenerationPatch patch =
        switch (question.ablation()) {
          case ZERO -> GenerationPatch.zero(masks);
          case RESAMPLE -> GenerationPatch.resample(pair.corrupt(), masks, Donor.FOLLOWS);
          case BATCH_ALL_TOK_MEAN -> GenerationPatch.constant(pair.activations(), masks);
          case BATCH_TOKENWISE_MEAN ->
              throw new IllegalArgumentException(
                  "ablation: expected another one than " + BatchAblation.BATCH_TOKENWISE_MEAN);
        };
    return question.at() < 0 ? patch : patch.at(new Span(question.at(), question.at() + 1));
  }

  /** One of two texts. */
  private final class Side implements AutoCloseable {
    private final String name;
    private final Generation generation;
    private final Iterator<GeneratedToken> tokens;
    private final TextStream text;
    private boolean ended;

    Side(String name, GenerationRequest request, Pair pair) {
      this.name = name;
      generation = generator.submit(request);
      tokens = generation.iterator();
      text = TextStream.after(engine.model().tokenizer(), pair.clean(), List.of());
    }

    /** Sends the next token, or the end. */
    void send(Exchange exchange) {
      if (ended) {
        return;
      }
      ended = !hasNext();
      String more = ended ? text.end() : text.add(tokens.next().id());
      ObjectNode line = line().put("side", name).put("text", more);
      if (ended) {
        line.put("end", generation.finishReason().map(Enum::name).orElse(""));
      }
      write(exchange, line);
    }

    /** Waits, which is not the client's time. */
    private boolean hasNext() {
      watchdog.pause();
      try {
        return tokens.hasNext();
      } finally {
        watchdog.resume();
      }
    }

    @Override
    public void close() {
      generation.close();
    }
  }

  private static ObjectNode line() {
    return StrictJson.MAPPER.createObjectNode();
  }

  /** Sends a line at once. */
  private static void write(Exchange exchange, ObjectNode line) {
    try {
      if (!exchange.isBegun()) {
        exchange.begin(LINES);
      }
      exchange.write(StrictJson.text(line) + "\n");
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
