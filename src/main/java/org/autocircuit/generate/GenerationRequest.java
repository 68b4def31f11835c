package org.autocircuit.generate;

import java.time.Duration;
import java.util.Collection;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.function.Consumer;
import java.util.function.Predicate;
import java.util.function.Supplier;
import java.util.stream.Stream;
import org.autocircuit.internal.Numbers;

/**
 * A prompt to be answered, and how. Immutable; {@code with} methods make others. A request can be
 * submitted any number of times, to any generator of a model that it fits.
 */
public final class GenerationRequest {

  /** Answers have at most this many tokens unless the request says otherwise. */
  public static final int DEFAULT_MAX_TOKENS = 128;

  private final Parts parts;

  private GenerationRequest(Parts parts) {
    this.parts = parts;
  }

  private static final class Parts implements Cloneable {
    int[] prompt;
    GenerationPatch patch = GenerationPatch.NONE;
    Sampling sampling = Sampling.GREEDY;
    Supplier<TokenSampler> sampler;
    Stop stop = Stop.after(DEFAULT_MAX_TOKENS);
    Duration timeLimit;
    List<Steering> steering = List.of();
    Collection<String> reads = List.of();
    int logProbs;
    String guardHook;
    Predicate<float[]> guard;
    int maxUnread = Integer.MAX_VALUE;

    Parts copy() {
      try {
        return (Parts) clone();
      } catch (CloneNotSupportedException e) {
        throw new IllegalStateException(e);
      }
    }
  }

  private GenerationRequest with(Consumer<Parts> change) {
    Parts changed = parts.copy();
    change.accept(changed);
    return new GenerationRequest(changed);
  }

  /**
   * A prompt, answered by the plain model with its most probable tokens.
   *
   * @param tokens at least one; copied
   */
  public static GenerationRequest of(long[] tokens) {
    Parts parts = new Parts();
    parts.prompt = tokens("tokens", tokens);
    return new GenerationRequest(parts);
  }

  /** Copies tokens, and refuses none at all and those that no vocabulary has. */
  static int[] tokens(String name, long[] tokens) {
    if (tokens.length == 0) {
      throw new IllegalArgumentException(name + ": expected at least one, got none");
    }
    int[] copy = new int[tokens.length];
    for (int i = 0; i < copy.length; i++) {
      if (tokens[i] < 0 || tokens[i] > Integer.MAX_VALUE) {
        throw new IllegalArgumentException(
            "%s: expected 0 or more, got %s at position %s".formatted(name, tokens[i], i));
      }
      copy[i] = (int) tokens[i];
    }
    return copy;
  }

  /** This, patched. */
  public GenerationRequest withPatch(GenerationPatch value) {
    Objects.requireNonNull(value, "patch");
    return with(parts -> parts.patch = value);
  }

  /** This, with tokens chosen so. */
  public GenerationRequest withSampling(Sampling value) {
    Objects.requireNonNull(value, "sampling");
    return with(
        parts -> {
          parts.sampling = value;
          parts.sampler = null;
        });
  }

  /**
   * This, with tokens chosen by code of one's own.
   *
   * @param value makes one for each answer, and one for its donor if that is {@link Donor#FREE}
   */
  public GenerationRequest withSampler(Supplier<TokenSampler> value) {
    Objects.requireNonNull(value, "sampler");
    return with(parts -> parts.sampler = value);
  }

  /** This, ending so. */
  public GenerationRequest withStop(Stop value) {
    Objects.requireNonNull(value, "stop");
    return with(parts -> parts.stop = value);
  }

  /**
   * This, ended when its time is over, the wait in the queue included.
   *
   * @throws IllegalArgumentException if it is not positive
   */
  public GenerationRequest withTimeLimit(Duration value) {
    if (value.isNegative() || value.isZero()) {
      throw new IllegalArgumentException("timeLimit: expected a positive one, got " + value);
    }
    return with(parts -> parts.timeLimit = value);
  }

  /** This, steered by one more vector; several at one hook point add up. */
  public GenerationRequest withSteering(Steering value) {
    Objects.requireNonNull(value, "steering");
    return with(
        parts ->
            parts.steering = Stream.concat(parts.steering.stream(), Stream.of(value)).toList());
  }

  /**
   * This, giving out what is at hook points at the position before each token, too: {@link
   * Generation#reads}.
   *
   * @param hookNames of values with one vector for each position
   */
  public GenerationRequest withReads(String... hookNames) {
    List<String> names = List.of(hookNames);
    return with(parts -> parts.reads = names);
  }

  /**
   * This, giving out the most probable tokens at the place of each token, too: {@link
   * Generation#logProbs}.
   *
   * @param count of them; as many as the vocabulary has if that is less
   */
  public GenerationRequest withLogProbs(int count) {
    Numbers.atLeast(0, "logProbs", count);
    return with(parts -> parts.logProbs = count);
  }

  /** This, as another answer to the same prompt: with a seed of its own. */
  GenerationRequest another(int index) {
    Sampling first = parts.sampling;
    return with(parts -> parts.sampling = first.withSeed(first.seed() + index));
  }

  /**
   * This, with a guard: an answer ends with {@link FinishReason#GUARD}, before the token that would
   * be next, as soon as it says so.
   *
   * @param hookName of a value with one vector for each position
   * @param value looks at the vector at the position before each token; on the generator's thread,
   *     so it should take microseconds; what it throws ends its own request
   */
  public GenerationRequest withGuard(String hookName, Predicate<float[]> value) {
    Objects.requireNonNull(hookName, "hookName");
    Objects.requireNonNull(value, "guard");
    return with(
        parts -> {
          parts.guardHook = hookName;
          parts.guard = value;
        });
  }

  /**
   * This, resting while so many of its tokens lie unread. If it rests when its time is over, it
   * ends with {@link FinishReason#UNREAD}. A slow reader slows no other request in any case.
   */
  public GenerationRequest withMaxUnread(int value) {
    Numbers.atLeast(1, "maxUnread", value);
    return with(parts -> parts.maxUnread = value);
  }

  /** The number of tokens of the prompt. */
  public int promptLength() {
    return parts.prompt.length;
  }

  /** The patch, {@link GenerationPatch#NONE} for a plain answer. */
  public GenerationPatch patch() {
    return parts.patch;
  }

  /** The way in which tokens are chosen, unless by code of one's own. */
  public Sampling sampling() {
    return parts.sampling;
  }

  /** The places at which it ends. */
  public Stop stop() {
    return parts.stop;
  }

  /** The time that it may take from {@code submit} on; empty: any. */
  public Optional<Duration> timeLimit() {
    return Optional.ofNullable(parts.timeLimit);
  }

  /** The vectors that steer it. */
  public List<Steering> steering() {
    return parts.steering;
  }

  /** The hook points that are given out. */
  public List<String> reads() {
    return List.copyOf(new LinkedHashSet<>(parts.reads));
  }

  /** The number of most probable tokens that are given out. */
  public int logProbs() {
    return parts.logProbs;
  }

  /** The most tokens that lie unread before it rests. */
  public int maxUnread() {
    return parts.maxUnread;
  }

  /** The prompt itself. */
  int[] prompt() {
    return parts.prompt;
  }

  TokenSampler newSampler() {
    return parts.sampler == null ? parts.sampling.sampler() : parts.sampler.get();
  }

  /** All hook points that are read, that of the guard last. */
  List<String> hooks() {
    return Stream.concat(reads().stream(), Stream.ofNullable(parts.guardHook)).distinct().toList();
  }

  /** Returns whether the guard ends the answer here. */
  boolean isEnded(Map<String, float[]> reads) {
    return parts.guard != null && parts.guard.test(reads.get(parts.guardHook));
  }

  @Override
  public String toString() {
    return "GenerationRequest[%s tokens, %s, %s]"
        .formatted(promptLength(), parts.patch, parts.stop);
  }
}
