package org.autocircuit.attribution;

import java.util.Objects;
import java.util.Optional;
import org.autocircuit.internal.Components;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.patch.SourceActivations;

/**
 * The gradient of a loss with respect to masks that all have one value, within a limit of memory:
 * what {@link org.autocircuit.PatchableModel#maskGradient(ModelInput,
 * org.autocircuit.patch.PatchContext, AnswerLoss)} computes with uniform masks, up to rounding, for
 * models or prompts for which the outputs of all sources {@code [n_srcs, batch, seq, d_model]}
 * would not fit.
 *
 * <p>If all prompts at once exceed the limit, they run in parts. If even few of them do, heads'
 * outputs are kept as {@code z} before the output weights, {@code n_heads} times fewer numbers, and
 * multiplied by them for some positions at a time wherever they are read: that takes about {@code
 * n_layers / 12} plain passes longer. Where the mask value is not 0 it needs a graph in which each
 * destination reads all sources before it: attention and MLP must not run in parallel.
 *
 * <p>Immutable; the tensors in it must live until it is used for the last time.
 */
public final class EdgeAttribution {

  private final ModelInput clean;
  private final Optional<ModelInput> corrupt;
  private final Optional<SourceActivations> activations;
  private final AnswerLoss loss;
  private final double maskValue;
  private final long memoryLimit;
  private final boolean perPrompt;
  private final BackwardRules rules;
  private final boolean differences;

  private EdgeAttribution(
      ModelInput clean,
      Optional<ModelInput> corrupt,
      Optional<SourceActivations> activations,
      AnswerLoss loss,
      double maskValue,
      long memoryLimit,
      boolean perPrompt,
      BackwardRules rules,
      boolean differences) {
    Objects.requireNonNull(clean, "clean");
    Objects.requireNonNull(loss, "loss");
    if (!Double.isFinite(maskValue)) {
      throw new IllegalArgumentException("maskValue: expected a number, got " + maskValue);
    }
    if (memoryLimit <= 0) {
      throw new IllegalArgumentException(
          "memoryLimit: expected a number of bytes, got " + memoryLimit);
    }
    this.clean = clean;
    this.corrupt = corrupt;
    this.activations = activations;
    this.loss = loss;
    this.maskValue = maskValue;
    this.memoryLimit = memoryLimit;
    this.perPrompt = perPrompt;
    this.rules = Objects.requireNonNull(rules, "rules");
    this.differences = differences;
  }

  /** Returns the prompts of the loss. */
  public ModelInput clean() {
    return clean;
  }

  /**
   * Returns the prompts whose source outputs edges are patched with, as many and as long; empty:
   * edges are patched with {@link #activations()}.
   */
  public Optional<ModelInput> corrupt() {
    return corrupt;
  }

  /**
   * Returns the given activations that edges are patched with, whose memory is not counted; empty:
   * they are those of {@link #corrupt()}.
   */
  public Optional<SourceActivations> activations() {
    return activations;
  }

  /** Returns the loss on the logits of the last position. */
  public AnswerLoss loss() {
    return loss;
  }

  /** Returns the value of all masks; 0: edge attribution patching (Syed et al. 2023). */
  public double maskValue() {
    return maskValue;
  }

  /**
   * Returns how many bytes tensors may take, estimated from above; what the model and this request
   * hold, and idle buffers of {@link org.autocircuit.Workspaces}, are not counted.
   */
  public long memoryLimit() {
    return memoryLimit;
  }

  /** Patches with the source outputs of corrupt prompts, at mask value 0, without a limit. */
  public static EdgeAttribution resampled(ModelInput clean, ModelInput corrupt, AnswerLoss loss) {
    return new EdgeAttribution(
        clean,
        Optional.of(corrupt),
        Optional.empty(),
        loss,
        0,
        Long.MAX_VALUE,
        false,
        BackwardRules.DERIVATIVE,
        false);
  }

  /** Patches with given activations, at mask value 0, without a limit. */
  public static EdgeAttribution of(
      ModelInput clean, SourceActivations activations, AnswerLoss loss) {
    return new EdgeAttribution(
        clean,
        Optional.empty(),
        Optional.of(activations),
        loss,
        0,
        Long.MAX_VALUE,
        false,
        BackwardRules.DERIVATIVE,
        false);
  }

  /**
   * This with another value of all masks.
   *
   * @throws IllegalArgumentException if it is not finite
   */
  public EdgeAttribution withMaskValue(double value) {
    return new EdgeAttribution(
        clean, corrupt, activations, loss, value, memoryLimit, perPrompt, rules, differences);
  }

  /**
   * This within so many bytes.
   *
   * @throws IllegalArgumentException if the number is not positive
   */
  public EdgeAttribution withMemoryLimit(long bytes) {
    return new EdgeAttribution(
        clean, corrupt, activations, loss, maskValue, bytes, perPrompt, rules, differences);
  }

  /**
   * This with a gradient for each prompt, of its own loss: {@code [batch, n_masks]} rather than the
   * mean over prompts. The gradients of all prompts count for the limit.
   */
  public EdgeAttribution withPerPrompt() {
    return new EdgeAttribution(
        clean,
        corrupt,
        activations,
        loss,
        maskValue,
        memoryLimit,
        /* perPrompt= */ true,
        rules,
        differences);
  }

  /** This whose gradient goes back by other rules than the derivative's. */
  public EdgeAttribution withRules(BackwardRules value) {
    return new EdgeAttribution(
        clean, corrupt, activations, loss, maskValue, memoryLimit, perPrompt, value, differences);
  }

  /**
   * This whose result has the differences of source outputs, too, which the pass makes anyway. All
   * prompts have to fit into the limit at once.
   */
  public EdgeAttribution withDifferences() {
    return new EdgeAttribution(
        clean, corrupt, activations, loss, maskValue, memoryLimit, perPrompt, rules, true);
  }

  /** Returns whether the result has the differences of source outputs. */
  public boolean differences() {
    return differences;
  }

  /** Returns whether each prompt has a gradient of its own. */
  public boolean perPrompt() {
    return perPrompt;
  }

  /** Returns how the gradient goes back; {@link BackwardRules#DERIVATIVE} unless said. */
  public BackwardRules rules() {
    return rules;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof EdgeAttribution that && components().equals(that.components());
  }

  @Override
  public int hashCode() {
    return components().hashCode();
  }

  @Override
  public String toString() {
    return "EdgeAttribution" + components();
  }

  private Components components() {
    return Components.of(
        "clean",
        clean,
        "corrupt",
        corrupt,
        "activations",
        activations,
        "loss",
        loss,
        "maskValue",
        maskValue,
        "memoryLimit",
        memoryLimit,
        "perPrompt",
        perPrompt,
        "rules",
        rules,
        "differences",
        differences);
  }
}
