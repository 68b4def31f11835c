package org.autocircuit.generate;

import java.time.Duration;
import java.util.List;
import java.util.Optional;

/**
 * An answer that has ended.
 *
 * @param tokens all of it
 * @param reason why it ended
 * @param waited from {@code submit} until it began to run
 * @param toFirstToken from {@code submit} until there was a token; empty: there was none
 * @param total from {@code submit} until it ended
 */
public record GenerationResult(
    List<GeneratedToken> tokens,
    FinishReason reason,
    Duration waited,
    Optional<Duration> toFirstToken,
    Duration total) {

  /** Copies the tokens. */
  public GenerationResult {
    tokens = List.copyOf(tokens);
  }

  /** The ids of the tokens. */
  public long[] ids() {
    return tokens.stream().mapToLong(GeneratedToken::id).toArray();
  }
}
