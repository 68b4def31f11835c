package org.autocircuit.attribution;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import org.autocircuit.internal.Components;
import org.autocircuit.pass.ModelInput;
import org.bytedeco.pytorch.Tensor;

/**
 * The gradient of a loss with respect to masks that are 0, taken at a point of the caller's choice
 * and for differences of the caller's choice: of the edge from source u to destination v it is the
 * sum over tokens of (difference of u) · (gradient of the loss in v's input at the point). With the
 * differences of corrupt and clean prompts and nothing added this is edge attribution patching; its
 * mean over points between corrupt and clean activations is what integrated gradients are made of.
 *
 * <p>The point is a run of the plain model on the input, to which vectors may be added at hook
 * points. The differences stay what they are, wherever that leads.
 *
 * <p>Immutable; the tensors in it must live until it is used for the last time.
 */
public final class PointAttribution {

  private final ModelInput input;
  private final Tensor differences;
  private final AnswerLoss loss;
  private final Map<String, Tensor> added;
  private final boolean perPrompt;

  private PointAttribution(
      ModelInput input,
      Tensor differences,
      AnswerLoss loss,
      Map<String, Tensor> added,
      boolean perPrompt) {
    this.input = Objects.requireNonNull(input, "input");
    this.differences = Objects.requireNonNull(differences, "differences");
    this.loss = Objects.requireNonNull(loss, "loss");
    this.added = Collections.unmodifiableMap(added);
    this.perPrompt = perPrompt;
  }

  /**
   * At the plain run of an input.
   *
   * @param input the prompts of the run and of the loss
   * @param differences patched minus plain outputs of all sources {@code [n_srcs, batch, seq,
   *     d_model]}, of the model's precision and device
   * @param loss on the logits of the last position
   */
  public static PointAttribution of(ModelInput input, Tensor differences, AnswerLoss loss) {
    return new PointAttribution(input, differences, loss, Map.of(), false);
  }

  /**
   * This where the run has something more at a hook point; what was added there before is replaced.
   *
   * @param hookName of a value {@code [batch, seq, d_model]}: where blocks begin and end, between
   *     attention and MLP, or what attention and MLP put out
   * @param value {@code [batch or 1, seq or 1, d_model]}, of the model's precision and device
   */
  public PointAttribution withAdded(String hookName, Tensor value) {
    Map<String, Tensor> more = new LinkedHashMap<>(added);
    more.put(Objects.requireNonNull(hookName, "hookName"), Objects.requireNonNull(value, "value"));
    return new PointAttribution(input, differences, loss, more, perPrompt);
  }

  /**
   * This with a gradient for each prompt, of its own loss: {@code [batch, n_masks]} rather than the
   * mean over prompts.
   */
  public PointAttribution withPerPrompt() {
    return new PointAttribution(input, differences, loss, added, true);
  }

  /** The prompts of the run and of the loss. */
  public ModelInput input() {
    return input;
  }

  /** Patched minus plain outputs of all sources {@code [n_srcs, batch, seq, d_model]}. */
  public Tensor differences() {
    return differences;
  }

  /** The loss on the logits of the last position. */
  public AnswerLoss loss() {
    return loss;
  }

  /** The vectors added to the run, by hook point; an unmodifiable map. */
  public Map<String, Tensor> added() {
    return added;
  }

  /** Returns whether each prompt has a gradient of its own. */
  public boolean perPrompt() {
    return perPrompt;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof PointAttribution that && components().equals(that.components());
  }

  @Override
  public int hashCode() {
    return components().hashCode();
  }

  @Override
  public String toString() {
    return "PointAttribution" + components();
  }

  private Components components() {
    return Components.of(
        "input",
        input,
        "differences",
        differences,
        "loss",
        loss,
        "added",
        added,
        "perPrompt",
        perPrompt);
  }
}
