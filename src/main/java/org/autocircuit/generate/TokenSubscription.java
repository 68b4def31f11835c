package org.autocircuit.generate;

import java.util.Optional;
import java.util.concurrent.Executor;
import java.util.concurrent.Flow;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;

/** One subscriber to an answer: gets the tokens it asks for, one call at a time. */
final class TokenSubscription implements Flow.Subscription {

  private final Generation generation;
  private final Flow.Subscriber<? super GeneratedToken> subscriber;
  private final Executor executor;
  private final AtomicLong demand = new AtomicLong();

  /** Counts what happened since the subscriber was last served; who raises it from 0 serves. */
  private final AtomicInteger signals = new AtomicInteger(1);

  private int next;
  private volatile boolean ended;
  private volatile boolean misused;

  TokenSubscription(
      Generation generation,
      Flow.Subscriber<? super GeneratedToken> subscriber,
      Executor executor) {
    this.generation = generation;
    this.subscriber = subscriber;
    this.executor = executor;
  }

  /** Introduces itself, on the subscribing thread; nothing else comes before. */
  void begin() {
    subscriber.onSubscribe(this);
    TokenLog.run(executor, this::serve);
  }

  /** Says that something may be there for the subscriber. */
  void signal() {
    if (!ended && signals.getAndIncrement() == 0) {
      TokenLog.run(executor, this::serve);
    }
  }

  @Override
  public void request(long n) {
    if (n <= 0) {
      misused = true;
    } else {
      demand.accumulateAndGet(n, (old, more) -> old + more < 0 ? Long.MAX_VALUE : old + more);
    }
    signal();
  }

  @Override
  public void cancel() {
    ended = true;
    generation.forget(this);
  }

  private void serve() {
    int seen = signals.get();
    do {
      try {
        serveOnce();
      } catch (RuntimeException | Error e) {
        cancel(); // what a subscriber throws ends its subscription
        throw e;
      }
      seen = signals.addAndGet(-seen);
    } while (seen != 0);
  }

  private void serveOnce() {
    if (misused && !ended) {
      cancel();
      subscriber.onError(
          new IllegalArgumentException("demand: expected a positive number of tokens"));
    }
    while (!ended && demand.get() > 0) {
      Optional<GeneratedToken> token = generation.poll(next);
      if (token.isEmpty()) {
        break;
      }
      next++;
      if (demand.get() != Long.MAX_VALUE) {
        demand.decrementAndGet();
      }
      subscriber.onNext(token.get());
    }
    if (!ended && generation.isEndedAt(next)) {
      cancel();
      generation.failure().ifPresentOrElse(subscriber::onError, subscriber::onComplete);
    }
  }
}
