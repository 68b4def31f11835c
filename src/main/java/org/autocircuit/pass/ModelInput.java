package org.autocircuit.pass;

import com.google.errorprone.annotations.MustBeClosed;
import java.util.Arrays;
import java.util.Objects;
import java.util.Optional;
import org.autocircuit.internal.Components;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.patch.Use;
import org.bytedeco.pytorch.Tensor;

/**
 * Holds what a model reads in one pass: a batch of prompts, which of their tokens are padding, and
 * what stands before them. Immutable; the tensors in it must live until it is used for the last
 * time.
 *
 * <p><b>Padding</b> is on the left, so that the last position of every prompt is its last token.
 * Nobody sees it, positions do not count it, and means over a batch or a data set leave it out: a
 * padded prompt gives the same logits as it does alone. What a pass returns <em>at</em> padding
 * (logits, source outputs, activations) means nothing.
 *
 * <p><b>A prefix</b> takes positions {@code 0} to {@code length - 1}. Tokens come after it; {@code
 * seq} and the positions of a graph count tokens only, and no patch reaches the prefix.
 */
public final class ModelInput {

  private final Tensor value;
  private final Optional<Tensor> attentionMask;
  private final Optional<PrefixCache> prefix;

  private ModelInput(Tensor value, Optional<Tensor> attentionMask, Optional<PrefixCache> prefix) {
    this.value = value;
    this.attentionMask = attentionMask;
    this.prefix = prefix;
  }

  /**
   * Returns the tokens {@code [batch, seq]}, 64-bit integers; for a micro model floats {@code
   * [batch, seq, d_model]}; in passes that start at a later block the residual stream.
   */
  public Tensor value() {
    return value;
  }

  /**
   * Returns which tokens are padding, {@code [batch, seq]}, 64-bit integers or booleans: in each
   * row 0 for padding, then 1 for at least one token; empty: there is no padding. The values are
   * checked where that does not wait for a device, that is on the CPU.
   */
  public Optional<Tensor> attentionMask() {
    return attentionMask;
  }

  /** Returns what stands before the prompts; empty: the model's own prefix, if it has one. */
  public Optional<PrefixCache> prefix() {
    return prefix;
  }

  /** A batch without padding. */
  public static ModelInput of(Tensor value) {
    return new ModelInput(value, Optional.empty(), Optional.empty());
  }

  /**
   * A batch of prompts. Those that are shorter than the longest are padded on the left, with token
   * 0, which no other token sees. The tensors belong to the innermost {@code PointerScope}.
   *
   * @param prompts tokens {@code [batch][seq of each]}
   * @param device where the model is
   * @throws IllegalArgumentException if there is no prompt, or one without a token
   */
  public static ModelInput ofPrompts(long[][] prompts, String device) {
    int seq = 0;
    boolean padded = false;
    for (int row = 0; row < prompts.length; row++) {
      if (prompts[row].length == 0) {
        throw new IllegalArgumentException(
            "tokens: expected at least one in each row, got none in row " + row);
      }
      padded |= prompts[row].length != prompts[0].length;
      seq = Math.max(seq, prompts[row].length);
    }
    if (!padded) {
      return of(TensorArrays.of(prompts, "tokens", device));
    }
    long[][] tokens = new long[prompts.length][seq];
    long[][] mask = new long[prompts.length][seq];
    for (int row = 0; row < prompts.length; row++) {
      int start = seq - prompts[row].length;
      System.arraycopy(prompts[row], 0, tokens[row], start, prompts[row].length);
      Arrays.fill(mask[row], start, seq, 1);
    }
    return of(TensorArrays.of(tokens, "tokens", device))
        .withAttentionMask(TensorArrays.of(mask, "attention mask", device));
  }

  /**
   * Keeps the prefix open for this thread, if there is one, for work of several calls.
   *
   * @return to be closed on this thread
   * @throws IllegalStateException if the prefix is closed
   */
  @MustBeClosed
  public Use use() {
    return prefix.isPresent() ? prefix.get().use() : () -> {};
  }

  /** This input with padding where the mask is 0. */
  public ModelInput withAttentionMask(Tensor mask) {
    return new ModelInput(
        value, Optional.of(Objects.requireNonNull(mask, "attentionMask")), prefix);
  }

  /** This input after a prefix, instead of the model's own if it has one. */
  public ModelInput withPrefix(PrefixCache cache) {
    return new ModelInput(
        value, attentionMask, Optional.of(Objects.requireNonNull(cache, "prefix")));
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof ModelInput that && components().equals(that.components());
  }

  @Override
  public int hashCode() {
    return components().hashCode();
  }

  @Override
  public String toString() {
    return "ModelInput" + components();
  }

  private Components components() {
    return Components.of("value", value, "attentionMask", attentionMask, "prefix", prefix);
  }
}
