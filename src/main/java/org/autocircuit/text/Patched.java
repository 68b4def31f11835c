package org.autocircuit.text;

/**
 * The next tokens of one prompt in two runs. Plain Java data.
 *
 * @param clean those of the model as it is
 * @param patched those of the patched model
 */
public record Patched(NextTokens clean, NextTokens patched) {

  /** The five most probable tokens of either run. */
  @Override
  public String toString() {
    return "clean: %s, patched: %s".formatted(clean, patched);
  }
}
