package org.autocircuit.generate;

import java.time.Duration;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Executor;
import java.util.concurrent.Flow;
import org.autocircuit.exception.QueueFullException;
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

  /** The generator, for its answers; any thread may ask. */
  interface Keeper {
    /** Runs what waits for tokens. */
    Executor executor();

    /** Ends an answer. */
    void cancel(Generation generation);

    /** A reader has caught up. */
    void caughtUp();

    /** Puts answers into the queue, all or none. */
    void submit(List<Generation> generations);
  }

  private final GenerationRequest request;
  private final GenerationPlan plan;
  private final Keeper keeper;
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

  private final List<TokenLog.Entry> given;
  private final TokenLog log;
  private Generation parent;
  private long started;
  private long firstToken;
  private volatile boolean cancelled;

  /**
   * Begins an answer.
   *
   * @param parent another answer to the same prompt, or {@code null}
   * @param given the first tokens, which are the parent's
   */
  Generation(
      GenerationRequest request,
      GenerationPlan plan,
      Keeper keeper,
      Generation parent,
      List<TokenLog.Entry> given) {
    this.request = request;
    this.plan = plan;
    this.keeper = keeper;
    this.parent = parent;
    this.given = given;
    log = new TokenLog(request.maxUnread(), given);
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
        return log.await(next);
      }

      @Override
      public GeneratedToken next() {
        if (!log.await(next)) {
          throw new NoSuchElementException();
        }
        return poll(next++).orElseThrow();
      }
    };
  }

  /**
   * The tokens as they come, on the generator's executor. A subscription that is cancelled leaves
   * the answer alone; {@link #close} ends it.
   */
  public Flow.Publisher<GeneratedToken> publisher() {
    return subscriber -> {
      TokenSubscription subscription = new TokenSubscription(this, subscriber, keeper.executor());
      log.subscribe(subscription);
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
    return log.ended();
  }

  /** The tokens so far. */
  public List<GeneratedToken> tokens() {
    return log.tokens();
  }

  /**
   * Returns what was read at the position before a token, whose logits chose it.
   *
   * @param index of the token in the answer, which must have come
   * @return hook point to its values; not copied
   */
  public Map<String, float[]> reads(int index) {
    return log.entry(index).reads();
  }

  /**
   * Returns the most probable tokens at the place of a token, as many as {@link
   * GenerationRequest#withLogProbs} asked for.
   *
   * @param index of the token in the answer, which must have come
   * @return the most probable one first; equally probable ones in the order of their ids
   */
  public List<TokenLogProb> logProbs(int index) {
    return log.entry(index).best();
  }

  /**
   * Begins another answer to the same prompt, which has the first tokens of this one and goes on in
   * its own way. Keys and values up to there are copied, if this one still runs; otherwise they are
   * computed once more, to the same bits. It waits in the queue as any request does, and needs as
   * much memory.
   *
   * <p>All but its tokens is as the request of this says; behind the tokens that it begins with it
   * gets what a request with this sampling gets that happens to begin with the same ones.
   *
   * @param count of the tokens of this that it begins with: 0 to as many as have come. If this has
   *     ended at the last of them, so has the other one.
   * @param sampling how it goes on
   * @return to be closed by the caller, which cancels it if it has not ended
   * @throws IllegalArgumentException if so many tokens have not come
   * @throws QueueFullException if as many requests wait as may
   * @throws IllegalStateException if the generator is closed
   */
  public Generation fork(int count, Sampling sampling) {
    int known = tokens().size();
    if (count < 0 || count > known) {
      throw new IllegalArgumentException(
          "count: expected 0 to %s tokens, as many as have come, got %s".formatted(known, count));
    }
    Generation fork =
        new Generation(request.withSampling(sampling), plan, keeper, this, log.first(count));
    keeper.submit(List.of(fork));
    return fork;
  }

  /**
   * Ends the answer if it has not ended: with {@link FinishReason#CANCELLED}, after the step that
   * runs at the latest. Its memory is given back then.
   */
  @Override
  public void close() {
    if (!cancelled) {
      cancelled = true;
      keeper.cancel(this);
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
    return log.isFull();
  }

  void start() {
    started = System.nanoTime();
  }

  void add(TokenLog.Entry entry) {
    firstToken = firstToken == 0 ? System.nanoTime() : firstToken;
    log.add(entry);
  }

  /** The tokens that it had from the start. */
  List<TokenLog.Entry> given() {
    return given;
  }

  /** The answer from which it forks, or {@code null}; tells once, and no longer holds it. */
  Generation takeParent() {
    Generation taken = parent;
    parent = null;
    return taken;
  }

  /**
   * Ends it, unless it has ended.
   *
   * @param thrown what failed, or {@code null}
   * @param counted runs before anybody can see the end
   * @return whether it had not ended
   */
  boolean end(FinishReason why, Throwable thrown, Runnable counted) {
    long now = System.nanoTime();
    boolean isFirst = log.end(tokens -> makeResult(tokens, why, now), thrown, counted);
    if (isFirst) {
      TokenLog.run(keeper.executor(), this::complete);
    }
    return isFirst;
  }

  private void complete() {
    log.failure()
        .ifPresentOrElse(
            result::completeExceptionally, () -> result.complete(log.ended().orElseThrow()));
  }

  private GenerationResult makeResult(List<GeneratedToken> tokens, FinishReason why, long now) {
    return new GenerationResult(
        tokens,
        given.size(),
        why,
        Duration.ofNanos((started == 0 ? now : started) - submitted),
        firstToken == 0 ? null : Duration.ofNanos(firstToken - submitted),
        Duration.ofNanos(now - submitted));
  }

  /** The token at an index, read; empty: it has not come. */
  Optional<GeneratedToken> poll(int index) {
    return log.read(index, keeper::caughtUp);
  }

  /** Returns whether it ended with so many tokens. */
  boolean isEndedAt(int count) {
    return log.isEndedAt(count);
  }

  /** The failure that ended it with {@link FinishReason#ERROR}; empty: none did. */
  public Optional<Throwable> failure() {
    return log.failure();
  }

  void forget(TokenSubscription subscription) {
    log.forget(subscription);
  }

  @Override
  public String toString() {
    return "Generation[%s]".formatted(request);
  }
}
