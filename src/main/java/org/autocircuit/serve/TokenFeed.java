package org.autocircuit.serve;

import java.util.Optional;
import java.util.concurrent.Flow;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.autocircuit.generate.GeneratedToken;
import org.autocircuit.generate.Generation;

/** The tokens of an answer for one thread that does not want to wait for ever. */
final class TokenFeed implements Flow.Subscriber<GeneratedToken> {

  /** Something that came: a token, or the end of the answer. */
  record Event(GeneratedToken token, Throwable failure) {

    boolean isEnd() {
      return token == null;
    }
  }

  private final LinkedBlockingQueue<Event> events = new LinkedBlockingQueue<>();

  private TokenFeed() {}

  static TokenFeed of(Generation generation) {
    TokenFeed feed = new TokenFeed();
    generation.publisher().subscribe(feed);
    return feed;
  }

  /** Waits for what is next, at most so long. */
  Optional<Event> next(long millis) throws InterruptedException {
    return Optional.ofNullable(events.poll(millis, TimeUnit.MILLISECONDS));
  }

  @Override
  public void onSubscribe(Flow.Subscription subscription) {
    subscription.request(Long.MAX_VALUE);
  }

  @Override
  public void onNext(GeneratedToken token) {
    events.add(new Event(token, null));
  }

  @Override
  public void onError(Throwable failure) {
    events.add(new Event(null, failure));
  }

  @Override
  public void onComplete() {
    events.add(new Event(null, null));
  }
}
