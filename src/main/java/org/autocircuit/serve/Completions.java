package org.autocircuit.serve;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.autocircuit.exception.DoesNotFitException;
import org.autocircuit.exception.NotFiniteException;
import org.autocircuit.exception.QueueFullException;
import org.autocircuit.generate.FinishReason;
import org.autocircuit.generate.Generation;
import org.autocircuit.generate.Generator;
import org.autocircuit.internal.http.Exchange;
import org.autocircuit.internal.http.Refusal;
import org.autocircuit.internal.http.Watchdog;

/** Answers completions. A client that goes away takes its request with it. */
final class Completions {

  private static final Logger LOG = System.getLogger("org.autocircuit.serve");

  /** The longest time without a byte: a client that dies is noticed at the second time. */
  private static final long KEEP_ALIVE_MILLIS = 250;

  private final Served served;
  private final Generator generator;
  private final Watchdog watchdog;
  private final Set<Generation> running = ConcurrentHashMap.newKeySet();
  private volatile boolean closing;

  Completions(Served served, Generator generator, Watchdog watchdog) {
    this.served = served;
    this.generator = generator;
    this.watchdog = watchdog;
  }

  /** Answers one request, and returns when the client has the answer. */
  void answer(Exchange exchange) throws IOException {
    ObjectNode document = exchange.readObject();
    Completion completion = read(document);
    List<Generation> generations = submit(exchange, completion);
    try {
      running.addAll(generations);
      if (closing) {
        close();
      }
      answer(generations, completion, exchange);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt(); // the server has closed
    } finally {
      generations.forEach(Generation::close);
      generations.forEach(running::remove);
    }
  }

  private Completion read(ObjectNode document) {
    try {
      return Completion.read(document, served);
    } catch (IllegalArgumentException e) {
      throw Refusal.of(400, e.getMessage());
    } catch (IllegalStateException e) {
      throw closed();
    }
  }

  private List<Generation> submit(Exchange exchange, Completion completion) {
    try {
      return generator.submit(completion.request(), completion.answers());
    } catch (QueueFullException e) {
      exchange.header("Retry-After", "1");
      throw Refusal.of(429, e.getMessage());
    } catch (DoesNotFitException e) {
      throw Refusal.of(503, e.getMessage());
    } catch (IllegalArgumentException e) {
      throw Refusal.of(400, e.getMessage());
    } catch (IllegalStateException e) {
      throw closed();
    }
  }

  private static Refusal closed() {
    return Refusal.of(503, "the server is closing");
  }

  private void answer(List<Generation> generations, Completion completion, Exchange exchange)
      throws IOException, InterruptedException {
    Answer answer = Answer.to(completion, served, exchange);
    TokenFeed feed = TokenFeed.of(generations);
    answer.begin();
    while (!answer.isEnded()) {
      if (exchange.silentMillis() >= KEEP_ALIVE_MILLIS) {
        answer.keepAlive();
      }
      Optional<TokenFeed.Event> next = next(feed, KEEP_ALIVE_MILLIS - exchange.silentMillis());
      if (next.isPresent()) {
        TokenFeed.Event event = next.get();
        Generation generation = generations.get(event.answer());
        if (event.isEnd()) {
          end(event.answer(), generation, event.failure(), answer);
        } else {
          answer.add(event.answer(), event.token(), generation);
        }
      }
    }
  }

  /** Waits for what is next, which is not the client's time. */
  private Optional<TokenFeed.Event> next(TokenFeed feed, long millis) throws InterruptedException {
    watchdog.pause();
    try {
      return feed.next(millis);
    } finally {
      watchdog.resume();
    }
  }

  private void end(int index, Generation generation, Throwable failure, Answer answer)
      throws IOException {
    if (failure instanceof NotFiniteException) {
      answer.fail(500, failure.getMessage());
    } else if (failure != null) {
      LOG.log(Level.WARNING, "a request failed", failure);
      answer.fail(500, "the request failed; the server's log says more");
    } else {
      FinishReason reason = generation.finishReason().orElseThrow();
      if (reason == FinishReason.CANCELLED) {
        answer.fail(503, closed().getMessage());
      } else {
        answer.end(index, reason);
      }
    }
  }

  /** Cancels what runs, and whatever is still submitted. */
  void close() {
    closing = true;
    running.forEach(Generation::close);
  }
}
