package org.autocircuit.attribution;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalInt;
import org.autocircuit.graph.SrcModule;
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
 * points. The differences stay what they are, wherever that leads. It may begin at a block of which
 * the residual stream is known, and score the edges of some sources only; what leads to neither is
 * not computed.
 *
 * <p>Immutable; the tensors in it must live until it is used for the last time.
 */
public final class PointAttribution {

  private final ModelInput input;
  private final Tensor differences;
  private final AnswerLoss loss;
  private final Map<String, Tensor> added;
  private final OptionalInt startBlock;
  private final Optional<SrcModule> sources;
  private final boolean perPrompt;

  private PointAttribution(
      ModelInput input,
      Tensor differences,
      AnswerLoss loss,
      Map<String, Tensor> added,
      OptionalInt startBlock,
      Optional<SrcModule> sources,
      boolean perPrompt) {
    this.input = Objects.requireNonNull(input, "input");
    this.differences = Objects.requireNonNull(differences, "differences");
    this.loss = Objects.requireNonNull(loss, "loss");
    this.added = Collections.unmodifiableMap(added);
    this.startBlock = startBlock;
    this.sources = sources;
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
    return new PointAttribution(
        input, differences, loss, Map.of(), OptionalInt.empty(), Optional.empty(), false);
  }

  /**
   * At the plain run from a block on.
   *
   * @param block the first one that runs
   * @param stream its value is the residual stream {@code [batch, seq, d_model]} that enters the
   *     block
   * @param differences as in {@link #of}
   * @param loss on the logits of the last position
   */
  public static PointAttribution startingAt(
      int block, ModelInput stream, Tensor differences, AnswerLoss loss) {
    return new PointAttribution(
        stream, differences, loss, Map.of(), OptionalInt.of(block), Optional.empty(), false);
  }

  /** This with the gradient of the edges of some sources; that of all others is 0. */
  public PointAttribution withSources(SrcModule some) {
    return new PointAttribution(
        input, differences, loss, added, startBlock, Optional.of(some), perPrompt);
  }

  /**
   * This where the run has something more at a hook point; what was added there before is replaced.
   *
   * @param hookName of a value {@code [batch, seq, d_model]}: where blocks begin and end, between
   *     attention and MLP, or what attention and MLP put out
   * @param value {@code [batch or 1, seq or 1, d_model]}, of the model's precision and device; or
   *     {@code [points, batch or 1, seq or 1, d_model]} for several points, which run at once: the
   *     gradient and the loss are means over them
   */
  public PointAttribution withAdded(String hookName, Tensor value) {
    Map<String, Tensor> more = new LinkedHashMap<>(added);
    more.put(Objects.requireNonNull(hookName, "hookName"), Objects.requireNonNull(value, "value"));
    return new PointAttribution(input, differences, loss, more, startBlock, sources, perPrompt);
  }

  /**
   * This with a gradient for each prompt, of its own loss: {@code [batch, n_masks]} rather than the
   * mean over prompts.
   */
  public PointAttribution withPerPrompt() {
    return new PointAttribution(input, differences, loss, added, startBlock, sources, true);
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

  /** The block that the run begins at; empty: it begins at the input. */
  public OptionalInt startBlock() {
    return startBlock;
  }

  /** The sources whose edges are scored; empty: all. */
  public Optional<SrcModule> sources() {
    return sources;
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
        "startBlock",
        startBlock,
        "sources",
        sources,
        "perPrompt",
        perPrompt);
  }
}
