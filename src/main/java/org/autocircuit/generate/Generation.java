package org.autocircuit.generate;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Executor;
import java.util.concurrent.Flow;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.internal.jfr.GenerationEvent;

/**
 * An answer that is being generated. Its tokens are there for any number of readers, each from the
 * first on, in the way that each likes: a loop over this, a {@link #publisher}, or the {@link
 * #result} when it has ended. All of the answer is kept, so a slow reader slows nobody.
 *
 * <pre>{@code
 * try (Generation generation = generator.submit(request)) {
 *   for (GeneratedToken token : generation) {
 *     …
 *   }
 * }
 * }</pre>
 *
 * <p>Safe to share between threads. Waiting in a loop parks the thread, a virtual one too, and
 * never enters native code.
 */
public final class Generation implements Iterable<GeneratedToken>, AutoCloseable {

  private static final Logger LOG = System.getLogger("org.autocircuit.generate");

  private final GenerationRequest request;
  private final GenerationPlan plan;
  private final Executor executor;
  private final Consumer<Generation> canceller;
  private final Consumer<Generation> awakener;
  private final long submitted = System.nanoTime();
  final GenerationEvent event = GenerationEvent.begun();
  private final CompletableFuture<GenerationResult> result =
      new CompletableFuture<>() {
        @Override
        public boolean cancel(boolean mayInterrupt) {
          boolean isCancelled = super.cancel(mayInterrupt);
          close();
          return isCancelled;
        }
      };

  private final ReentrantLock lock = new ReentrantLock();
  private final Condition changed = lock.newCondition();
  private final List<GeneratedToken> tokens = new ArrayList<>();
  private final List<Map<String, float[]>> reads = new ArrayList<>();
  private final List<TokenSubscription> subscriptions = new ArrayList<>();
  private long started;
  private long firstToken;
  private int read;
  private GenerationResult ended;
  private Throwable failure;
  private volatile boolean cancelled;

  /**
   * Begins an answer.
   *
   * @param executor runs what waits for tokens
   * @param canceller ends this, on whatever thread
   * @param awakener is told when a reader has caught up
   */
  Generation(
      GenerationRequest request,
      GenerationPlan plan,
      Executor executor,
      Consumer<Generation> canceller,
      Consumer<Generation> awakener) {
    this.request = request;
    this.plan = plan;
    this.executor = executor;
    this.canceller = canceller;
    this.awakener = awakener;
  }

  /** The request that this answers. */
  public GenerationRequest request() {
    return request;
  }

  /** The memory that it needs. */
  public GenerationPlan plan() {
    return plan;
  }

  /**
   * Goes through the tokens, and waits for those that have not come. The end of an answer that
   * failed throws a {@link CompletionException} with what failed as its cause; all others just end,
   * see {@link #finishReason}. A thread that is interrupted while it waits gets a {@link
   * StoppedException}, and its interrupt status stays set.
   */
  @Override
  public Iterator<GeneratedToken> iterator() {
    return new Iterator<>() {
      private int next;

      @Override
      public boolean hasNext() {
        return await(next);
      }

      @Override
      public GeneratedToken next() {
        if (!await(next)) {
          throw new NoSuchElementException();
        }
        return read(next++);
      }
    };
  }

  /**
   * The tokens as they come, on the generator's executor. A subscription that is cancelled leaves
   * the answer alone; {@link #close} ends it.
   */
  public Flow.Publisher<GeneratedToken> publisher() {
    return subscriber -> {
      TokenSubscription subscription = new TokenSubscription(this, subscriber, executor);
      lock.lock();
      try {
        subscriptions.add(subscription);
      } finally {
        lock.unlock();
      }
      subscription.begin();
    };
  }

  /**
   * The whole answer when it has ended, for whatever reason; if that is {@link FinishReason#ERROR},
   * it is completed with the exception. What depends on it runs on the generator's executor.
   * Cancelling it cancels the answer.
   */
  public CompletableFuture<GenerationResult> result() {
    return result;
  }

  /** Returns why it has ended; empty: it has not. */
  public Optional<FinishReason> finishReason() {
    return ended().map(GenerationResult::reason);
  }

  /** The whole answer, if it has ended, for whatever reason. */
  public Optional<GenerationResult> ended() {
    lock.lock();
    try {
      return Optional.ofNullable(ended);
    } finally {
      lock.unlock();
    }
  }

  /** The tokens so far. */
  public List<GeneratedToken> tokens() {
    lock.lock();
    try {
      return List.copyOf(tokens);
    } finally {
      lock.unlock();
    }
  }

  /**
   * Returns what was read at the position before a token, whose logits chose it.
   *
   * @param index of the token in the answer, which must have come
   * @return hook point to its values; not copied
   */
  public Map<String, float[]> reads(int index) {
    lock.lock();
    try {
      return reads.get(index);
    } finally {
      lock.unlock();
    }
  }

  /**
   * Ends the answer if it has not ended: with {@link FinishReason#CANCELLED}, after the step that
   * runs at the latest. Its memory is given back then.
   */
  @Override
  public void close() {
    if (!cancelled) {
      cancelled = true;
      canceller.accept(this);
    }
  }

  boolean isCancelled() {
    return cancelled;
  }

  /** Returns whether its time is over. */
  boolean isExpired(long now) {
    return now - submitted >= timeLimit();
  }

  /** The nanoseconds until its time is over. */
  long left(long now) {
    return Math.max(0, timeLimit() - (now - submitted));
  }

  private long timeLimit() {
    return request.timeLimit().map(Generation::nanos).orElse(Long.MAX_VALUE);
  }

  private static long nanos(Duration duration) {
    return duration.compareTo(Duration.ofNanos(Long.MAX_VALUE)) < 0
        ? duration.toNanos()
        : Long.MAX_VALUE;
  }

  /** Returns whether so many tokens lie unread that it rests. */
  boolean isResting() {
    lock.lock();
    try {
      return tokens.size() - read >= request.maxUnread();
    } finally {
      lock.unlock();
    }
  }

  void start() {
    change(() -> started = System.nanoTime());
  }

  void add(GeneratedToken token, Map<String, float[]> readBefore) {
    change(
        () -> {
          firstToken = tokens.isEmpty() ? System.nanoTime() : firstToken;
          tokens.add(token);
          reads.add(readBefore);
        });
  }

  /**
   * Ends it, unless it has ended.
   *
   * @param thrown what failed, or {@code null}
   * @return whether it had not ended
   */
  boolean end(FinishReason why, Throwable thrown) {
    boolean[] first = {false};
    change(
        () -> {
          if (ended == null) {
            ended = makeResult(why, System.nanoTime());
            failure = thrown;
            first[0] = true;
          }
        });
    if (first[0]) {
      run(executor, this::complete);
    }
    return first[0];
  }

  private void complete() {
    if (failure == null) {
      result.complete(ended);
    } else {
      result.completeExceptionally(failure);
    }
  }

  private GenerationResult makeResult(FinishReason why, long now) {
    return new GenerationResult(
        tokens(),
        why,
        Duration.ofNanos((started == 0 ? now : started) - submitted),
        tokens.isEmpty() ? null : Duration.ofNanos(firstToken - submitted),
        Duration.ofNanos(now - submitted));
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

  /** Waits for a token; false if the answer ends before it. */
  private boolean await(int index) {
    lock.lock();
    try {
      while (tokens.size() <= index && ended == null) {
        changed.await();
      }
      if (tokens.size() > index) {
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

  /** A token that has come, which is read now. */
  private GeneratedToken read(int index) {
    GeneratedToken token;
    boolean caughtUp;
    lock.lock();
    try {
      token = tokens.get(index);
      caughtUp = index >= read && tokens.size() - read >= request.maxUnread();
      read = Math.max(read, index + 1);
    } finally {
      lock.unlock();
    }
    if (caughtUp) {
      awakener.accept(this);
    }
    return token;
  }

  /** The token at an index, read; empty: it has not come. */
  Optional<GeneratedToken> poll(int index) {
    lock.lock();
    try {
      if (tokens.size() <= index) {
        return Optional.empty();
      }
    } finally {
      lock.unlock();
    }
    return Optional.of(read(index));
  }

  /** Returns whether it ended with so many tokens. */
  boolean isEndedAt(int count) {
    lock.lock();
    try {
      return ended != null && tokens.size() == count;
    } finally {
      lock.unlock();
    }
  }

  /** The failure that ended it with {@link FinishReason#ERROR}; empty: none did. */
  public Optional<Throwable> failure() {
    lock.lock();
    try {
      return Optional.ofNullable(failure);
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

  @Override
  public String toString() {
    return "Generation[%s]".formatted(request);
  }
}
