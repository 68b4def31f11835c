package org.autocircuit.serve;

import java.util.List;
import java.util.Optional;
import java.util.concurrent.Flow;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.autocircuit.generate.GeneratedToken;
import org.autocircuit.generate.Generation;

/** The tokens of answers for one thread that does not want to wait for ever. */
final class TokenFeed {

  /**
   * Something that came: a token, or the end of an answer.
   *
   * @param answer 0 for the first
   */
  record Event(int answer, GeneratedToken token, Throwable failure) {

    boolean isEnd() {
      return token == null;
    }
  }

  private final LinkedBlockingQueue<Event> events = new LinkedBlockingQueue<>();

  private TokenFeed() {}

  static TokenFeed of(List<Generation> generations) {
    TokenFeed feed = new TokenFeed();
    for (int i = 0; i < generations.size(); i++) {
      generations.get(i).publisher().subscribe(feed.subscriber(i));
    }
    return feed;
  }

  /** Waits for what is next, at most so long. */
  Optional<Event> next(long millis) throws InterruptedException {
    return Optional.ofNullable(events.poll(millis, TimeUnit.MILLISECONDS));
  }

  private Flow.Subscriber<GeneratedToken> subscriber(int answer) {
    return new Flow.Subscriber<>() {
      @Override
      public void onSubscribe(Flow.Subscription subscription) {
        subscription.request(Long.MAX_VALUE);
      }

      @Override
      public void onNext(GeneratedToken token) {
        events.add(new Event(answer, token, null));
      }

      @Override
      public void onError(Throwable failure) {
        events.add(new Event(answer, null, failure));
      }

      @Override
      public void onComplete() {
        events.add(new Event(answer, null, null));
      }
    };
  }
}
