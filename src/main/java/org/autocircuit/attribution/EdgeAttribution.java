package org.autocircuit.attribution;

import java.util.Objects;
import java.util.Optional;
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
 *
 * @param clean the prompts whose loss it is
 * @param corrupt the prompts whose source outputs edges are patched with, as many and as long;
 *     empty: {@code activations}
 * @param activations what edges are patched with; their memory is not counted
 * @param loss on the logits of the last position
 * @param maskValue of all masks; 0: edge attribution patching (Syed et al. 2023)
 * @param memoryLimit bytes that tensors take, an estimate that is an upper bound; what the model
 *     and this request hold, and idle buffers of {@link org.autocircuit.Workspaces}, are not
 *     counted
 */
public record EdgeAttribution(
    ModelInput clean,
    Optional<ModelInput> corrupt,
    Optional<SourceActivations> activations,
    AnswerLoss loss,
    double maskValue,
    long memoryLimit) {

  /**
   * Checks what can be checked without a model.
   *
   * @throws IllegalArgumentException if there are both corrupt prompts and activations, or neither;
   *     if the mask value is not finite, or the limit not positive
   */
  public EdgeAttribution {
    Objects.requireNonNull(clean, "clean");
    Objects.requireNonNull(loss, "loss");
    if (corrupt.isPresent() == activations.isPresent()) {
      throw new IllegalArgumentException(
          "expected corrupt prompts or activations, got "
              + (corrupt.isPresent() ? "both" : "neither"));
    }
    if (!Double.isFinite(maskValue)) {
      throw new IllegalArgumentException("maskValue: expected a number, got " + maskValue);
    }
    if (memoryLimit <= 0) {
      throw new IllegalArgumentException(
          "memoryLimit: expected a number of bytes, got " + memoryLimit);
    }
  }

  /** Patches with the source outputs of corrupt prompts, at mask value 0, without a limit. */
  public static EdgeAttribution resampled(ModelInput clean, ModelInput corrupt, AnswerLoss loss) {
    return new EdgeAttribution(
        clean, Optional.of(corrupt), Optional.empty(), loss, 0, Long.MAX_VALUE);
  }

  /** Patches with given activations, at mask value 0, without a limit. */
  public static EdgeAttribution of(
      ModelInput clean, SourceActivations activations, AnswerLoss loss) {
    return new EdgeAttribution(
        clean, Optional.empty(), Optional.of(activations), loss, 0, Long.MAX_VALUE);
  }

  /** This with another value of all masks. */
  public EdgeAttribution withMaskValue(double value) {
    return new EdgeAttribution(clean, corrupt, activations, loss, value, memoryLimit);
  }

  /** This within so many bytes. */
  public EdgeAttribution withMemoryLimit(long bytes) {
    return new EdgeAttribution(clean, corrupt, activations, loss, maskValue, bytes);
  }
}
