package org.autocircuit.generate;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Executor;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Function;
import org.autocircuit.exception.StoppedException;

/**
 * The tokens of one answer as they come, and its end: one thread adds, any number read, each from
 * the first token on. Nothing that readers do is waited for.
 */
final class TokenLog {

  private static final Logger LOG = System.getLogger("org.autocircuit.generate");

  /**
   * A token, and what else is known of its place.
   *
   * @param reads at the position before it
   * @param best most probable tokens there
   * @param donor the token that its donor has there
   */
  record Entry(
      GeneratedToken token, Map<String, float[]> reads, List<TokenLogProb> best, int donor) {}

  private final int maxUnread;
  private final ReentrantLock lock = new ReentrantLock();
  private final Condition changed = lock.newCondition();
  private final List<Entry> entries;
  private final List<TokenSubscription> subscriptions = new ArrayList<>();
  private int read;
  private GenerationResult ended;
  private Throwable failure;

  /**
   * Begins a log.
   *
   * @param given tokens that have come before
   */
  TokenLog(int maxUnread, List<Entry> given) {
    this.maxUnread = maxUnread;
    entries = new ArrayList<>(given);
  }

  void add(Entry entry) {
    change(() -> entries.add(entry));
  }

  /**
   * Ends the answer, unless it has ended.
   *
   * @param result makes it of the tokens
   * @param thrown what failed, or {@code null}
   * @param counted runs before anybody can see the end
   * @return whether it had not ended
   */
  boolean end(
      Function<List<GeneratedToken>, GenerationResult> result, Throwable thrown, Runnable counted) {
    boolean[] first = {false};
    change(
        () -> {
          if (ended == null) {
            counted.run();
            ended = result.apply(tokens());
            failure = thrown;
            first[0] = true;
          }
        });
    return first[0];
  }

  private void change(Runnable action) {
    List<TokenSubscription> told;
    lock.lock();
    try {
      action.run();
      changed.signalAll();
      told = subscriptions.isEmpty() ? List.of() : List.copyOf(subscriptions);
    } finally {
      lock.unlock();
    }
    told.forEach(TokenSubscription::signal);
  }

  List<GeneratedToken> tokens() {
    lock.lock();
    try {
      return entries.stream().map(Entry::token).toList();
    } finally {
      lock.unlock();
    }
  }

  /**
   * The first tokens.
   *
   * @throws IndexOutOfBoundsException if there are not so many
   */
  List<Entry> first(int count) {
    lock.lock();
    try {
      return List.copyOf(entries.subList(0, count));
    } finally {
      lock.unlock();
    }
  }

  Entry entry(int index) {
    lock.lock();
    try {
      return entries.get(index);
    } finally {
      lock.unlock();
    }
  }

  Optional<GenerationResult> ended() {
    lock.lock();
    try {
      return Optional.ofNullable(ended);
    } finally {
      lock.unlock();
    }
  }

  Optional<Throwable> failure() {
    lock.lock();
    try {
      return Optional.ofNullable(failure);
    } finally {
      lock.unlock();
    }
  }

  /** Returns whether it ended with so many tokens. */
  boolean isEndedAt(int count) {
    lock.lock();
    try {
      return ended != null && entries.size() == count;
    } finally {
      lock.unlock();
    }
  }

  /** Returns whether as many tokens lie unread as may. */
  boolean isFull() {
    lock.lock();
    try {
      return entries.size() - read >= maxUnread;
    } finally {
      lock.unlock();
    }
  }

  /** Waits for a token; false if the answer ends before it. */
  boolean await(int index) {
    lock.lock();
    try {
      while (entries.size() <= index && ended == null) {
        changed.await();
      }
      if (entries.size() > index) {
        return true;
      }
      if (failure != null) {
        throw new CompletionException(failure);
      }
      return false;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new StoppedException("stopped: the thread was interrupted");
    } finally {
      lock.unlock();
    }
  }

  /**
   * Reads a token, if it has come.
   *
   * @param awakener runs if this was full until now
   */
  Optional<GeneratedToken> read(int index, Runnable awakener) {
    GeneratedToken token;
    boolean wasFull;
    lock.lock();
    try {
      if (entries.size() <= index) {
        return Optional.empty();
      }
      token = entries.get(index).token();
      wasFull = index >= read && isFull();
      read = Math.max(read, index + 1);
    } finally {
      lock.unlock();
    }
    if (wasFull) {
      awakener.run();
    }
    return Optional.of(token);
  }

  void subscribe(TokenSubscription subscription) {
    lock.lock();
    try {
      subscriptions.add(subscription);
    } finally {
      lock.unlock();
    }
  }

  void forget(TokenSubscription subscription) {
    lock.lock();
    try {
      subscriptions.remove(subscription);
    } finally {
      lock.unlock();
    }
  }

  /** Runs what users wait with; what it or its executor throws is theirs alone. */
  static void run(Executor executor, Runnable action) {
    try {
      executor.execute(action);
    } catch (Exception | Error e) {
      LOG.log(
          Level.WARNING, "a generator's executor or a reader failed: the reader gets no more", e);
    }
  }
}
