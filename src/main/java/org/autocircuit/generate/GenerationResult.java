package org.autocircuit.generate;

import java.time.Duration;
import java.util.List;
import java.util.Optional;

/** An answer that has ended. Immutable. */
public final class GenerationResult {

  private final List<GeneratedToken> tokens;
  private final int given;
  private final FinishReason reason;
  private final Duration waited;
  private final Duration toFirstToken;
  private final Duration total;

  /**
   * An answer that has ended.
   *
   * @param given number of tokens that another answer had before
   * @param toFirstToken {@code null} if there was no other token
   */
  GenerationResult(
      List<GeneratedToken> tokens,
      int given,
      FinishReason reason,
      Duration waited,
      Duration toFirstToken,
      Duration total) {
    this.tokens = List.copyOf(tokens);
    this.given = given;
    this.reason = reason;
    this.waited = waited;
    this.toFirstToken = toFirstToken;
    this.total = total;
  }

  /** All tokens of the answer. */
  public List<GeneratedToken> tokens() {
    return tokens;
  }

  /** The ids of the tokens. */
  public long[] ids() {
    return tokens.stream().mapToLong(GeneratedToken::id).toArray();
  }

  /** The number of tokens that it chose: all, but for those with which a fork begins. */
  public int chosen() {
    return tokens.size() - given;
  }

  /** Returns why it ended. */
  public FinishReason reason() {
    return reason;
  }

  /** The time from {@code submit} until it began to run. */
  public Duration waited() {
    return waited;
  }

  /** The time from {@code submit} until it chose a token; empty: it chose none. */
  public Optional<Duration> toFirstToken() {
    return Optional.ofNullable(toFirstToken);
  }

  /** The time from {@code submit} until it ended. */
  public Duration total() {
    return total;
  }

  @Override
  public String toString() {
    return "GenerationResult[%s tokens, %s]".formatted(tokens.size(), reason);
  }
}
