package org.autocircuit.text;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.autocircuit.data.PromptDataset;
import org.autocircuit.data.PromptTokens;
import org.autocircuit.exception.AnswerException;
import org.autocircuit.internal.Figures;
import org.autocircuit.tokenizer.Tokenizer;

/**
 * Checked tokens of prompts. Several models that share weights share one; the last one that closes
 * it closes the tokenizer.
 */
final class PromptEncoder implements AutoCloseable {

  private static final Logger LOG = System.getLogger("org.autocircuit.text");

  private final Tokenizer tokenizer;
  private final int longest;
  private final AtomicInteger owners = new AtomicInteger(1);
  private final AtomicBoolean warned = new AtomicBoolean();

  PromptEncoder(Tokenizer tokenizer, int longest) {
    this.tokenizer = Objects.requireNonNull(tokenizer, "tokenizer");
    this.longest = longest;
  }

  Tokenizer tokenizer() {
    return tokenizer;
  }

  /** One more owner, which is an open one's doing. */
  PromptEncoder share() {
    owners.incrementAndGet();
    return this;
  }

  long[] encode(String name, String prompt) {
    long[] tokens = tokenizer.encode(Objects.requireNonNull(prompt, name));
    if (tokens.length == 0 || tokens.length > longest) {
      throw new IllegalArgumentException(
          String.format(
              Locale.ROOT,
              "%s has %s, the model takes 1 to %,d",
              name,
              Figures.count(tokens.length, "token"),
              longest));
    }
    if (!warned.get()) {
      warn(warnings(name, prompt));
    }
    return tokens;
  }

  /** The tokens of two prompts that must be equally long. */
  long[][] encodePair(String clean, String corrupt) {
    long[][] tokens = {encode("clean", clean), encode("corrupt", corrupt)};
    if (tokens[0].length != tokens[1].length) {
      throw new IllegalArgumentException(
          "corrupt has %s, clean has %s: %s; clean: %s"
              .formatted(
                  Figures.count(tokens[1].length, "token"),
                  tokens[0].length,
                  tokenizer.show(tokens[1]),
                  tokenizer.show(tokens[0])));
    }
    return tokens;
  }

  PromptTokens encode(PromptDataset prompts) {
    PromptTokens tokens = PromptTokens.of(prompts, tokenizer);
    tokens.check(longest);
    if (!warned.get()) {
      warn(tokens.warnings());
    }
    return tokens;
  }

  long answer(String prompt, String answer) {
    try {
      return tokenizer.answerToken(prompt, answer);
    } catch (AnswerException e) {
      if (answer.startsWith(" ")) {
        throw e;
      }
      try {
        return tokenizer.answerToken(prompt, " " + answer);
      } catch (AnswerException withSpace) {
        throw e.promptKept() ? e : withSpace; // of what was written, where it says more
      }
    }
  }

  List<String> warnings(String name, String prompt) {
    return List.copyOf(
        PromptTokens.warnings(tokenizer, prompt, name, tokenizer.prependsBos()).values());
  }

  private void warn(List<String> warnings) {
    if (!warnings.isEmpty() && warned.compareAndSet(false, true)) {
      warnings.forEach(line -> LOG.log(Level.WARNING, line));
    }
  }

  @Override
  public void close() {
    if (owners.decrementAndGet() == 0) {
      tokenizer.close();
    }
  }
}
