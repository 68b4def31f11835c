package org.autocircuit.patch;

import com.google.errorprone.annotations.MustBeClosed;
import java.util.List;
import java.util.Objects;
import java.util.Optional;

/**
 * All that decides how a forward pass is patched. An immutable value: make it once, share it
 * between threads, pass it to {@code PatchableModel.forward(tokens, context)}. It owns nothing;
 * source activations and {@link MaskParameters} are closed by whoever made them.
 *
 * <p>Every destination reads {@code residual + sum over sources of f(mask) * (activation - current
 * output)}.
 *
 * <pre>{@code
 * PatchContext context = PatchContext.of(activations, Masks.ofEdges(circuit));
 * }</pre>
 */
public final class PatchContext {

  /** No patching: the plain model. */
  public static final PatchContext NONE = new PatchContext(new Builder(null, null));

  private final SourceActivations activations;
  private final MaskValues masks;
  private final MaskFn maskFn;
  private final double dropout;
  private final Noise noise;
  private final SourceActivations startSourceOutputs;

  private PatchContext(Builder builder) {
    activations = builder.activations;
    masks = builder.masks;
    maskFn = builder.maskFn;
    dropout = builder.dropout;
    noise = builder.noise;
    startSourceOutputs = builder.startSourceOutputs;
  }

  /** Patching with masks as they are. */
  public static PatchContext of(SourceActivations activations, MaskValues masks) {
    return builder(activations, masks).build();
  }

  /**
   * Begins a context with mask function {@link MaskFn#NONE}, no dropout and {@link Noise#DEFAULT}.
   */
  public static Builder builder(SourceActivations activations, MaskValues masks) {
    return new Builder(
        Objects.requireNonNull(activations, "activations"), Objects.requireNonNull(masks, "masks"));
  }

  /**
   * Makes one context of several, so that requests with circuits and ablations of their own run as
   * one batch: the prompts of the first context, then those of the second, and so on. {@link #NONE}
   * may be among them. Every prompt gets what it gets in a pass of its own.
   *
   * <p>Values of {@link MaskParameters} are those of now. {@link #noise} is left out, since nothing
   * that can be stacked is random.
   *
   * @param prompts of each context, {@code [prompts][seq of each]}. Shorter ones are padded on the
   *     left, as {@code ModelInput.ofPrompts} does it, and source activations with them: these have
   *     as many positions as the longest prompt of their own context
   * @return to be closed by the caller
   * @throws IllegalArgumentException if there is no context, or activations or masks do not fit the
   *     prompts; if contexts differ in graph, in mask function, or in shape, type or device of
   *     activations; if some have {@link #startSourceOutputs} and others have not; if masks are
   *     being trained; for {@link MaskFn#HARD_CONCRETE} and dropout, whose draws depend on the
   *     place in the batch
   * @throws IllegalStateException if activations or masks are closed
   */
  public static StackedContexts stack(List<PatchContext> contexts, List<long[][]> prompts) {
    return StackedContexts.of(contexts, prompts);
  }

  /**
   * As {@link #stack(List, List)}, of prompts that are tensors. All have as many positions as the
   * source activations, which must agree in that.
   *
   * @param prompts number of prompts per context; omit it for one each
   */
  public static StackedContexts stack(List<PatchContext> contexts, int... prompts) {
    return StackedContexts.of(contexts, prompts);
  }

  /** A builder that starts from this context. */
  public Builder toBuilder() {
    return new Builder(activations, masks)
        .maskFn(maskFn)
        .dropout(dropout)
        .noise(noise)
        .startSourceOutputs(startSourceOutputs);
  }

  /** Returns whether anything is patched at all. */
  public boolean isPatched() {
    return activations != null;
  }

  /** Returns what sources are patched with; empty if nothing is patched. */
  public Optional<SourceActivations> activations() {
    return Optional.ofNullable(activations);
  }

  /** Returns how much each edge is patched; empty if nothing is. */
  public Optional<MaskValues> masks() {
    return Optional.ofNullable(masks);
  }

  /** Returns what is applied to the mask values. */
  public MaskFn maskFn() {
    return maskFn;
  }

  /** Probability of dropping a mask value while the masks are being trained. */
  public double dropout() {
    return dropout;
  }

  /** Returns where samples and dropout come from. */
  public Noise noise() {
    return noise;
  }

  /** For passes that start at a later block: outputs of the sources before it. */
  public Optional<SourceActivations> startSourceOutputs() {
    return Optional.ofNullable(startSourceOutputs);
  }

  /**
   * Keeps the activations and masks of this context open for this thread, for work of several
   * calls.
   *
   * @return to be closed on this thread
   * @throws IllegalStateException if one of them is closed
   */
  @MustBeClosed
  public Use use() {
    Use use = () -> {};
    if (activations != null) {
      use = use.and(activations::use);
    }
    if (masks instanceof MaskParameters parameters) {
      use = use.and(parameters::use);
    }
    return startSourceOutputs == null ? use : use.and(startSourceOutputs::use);
  }

  /** Returns what is patched and how. */
  @Override
  public String toString() {
    return isPatched()
        ? "PatchContext[%s, %s, %s, dropout %s, %s]"
            .formatted(activations, masks, maskFn, dropout, noise)
        : "PatchContext[not patched]";
  }

  /** Collects the parts of a context. Not safe for use by several threads. */
  public static final class Builder {

    private SourceActivations activations;
    private MaskValues masks;
    private MaskFn maskFn = MaskFn.NONE;
    private double dropout;
    private Noise noise = Noise.DEFAULT;
    private SourceActivations startSourceOutputs;

    private Builder(SourceActivations activations, MaskValues masks) {
      this.activations = activations;
      this.masks = masks;
    }

    /** Sets what sources are patched with and how much each edge is. */
    public Builder patch(SourceActivations activations, MaskValues masks) {
      this.activations = Objects.requireNonNull(activations, "activations");
      this.masks = Objects.requireNonNull(masks, "masks");
      return this;
    }

    /** Sets what is applied to the mask values. */
    public Builder maskFn(MaskFn value) {
      maskFn = Objects.requireNonNull(value, "maskFn");
      return this;
    }

    /**
     * Sets the probability of dropping a mask value; those that stay are scaled by {@code 1 / (1 -
     * dropout)}. As in the original it acts only while the masks are being trained, that is on
     * {@link MaskParameters} inside a {@link org.autocircuit.mode.TrainMaskMode}, and in {@code
     * PatchableModel.maskGradient}.
     *
     * @throws IllegalArgumentException if it is not in [0, 1)
     */
    public Builder dropout(double value) {
      if (!(value >= 0 && value < 1)) {
        throw new IllegalArgumentException("dropout: expected a value in [0, 1), got " + value);
      }
      dropout = value;
      return this;
    }

    /** Sets where samples and dropout come from, in a context that has some. */
    public Builder noise(Noise value) {
      noise = Objects.requireNonNull(value, "noise");
      return this;
    }

    /**
     * Sets, for passes that start at a later block, the outputs of the sources before it. All other
     * passes refuse such a context.
     *
     * @param value for instance {@code SourceActivations.of(result.sourceOutputs().orElseThrow())};
     *     {@code null} for none
     */
    public Builder startSourceOutputs(SourceActivations value) {
      startSourceOutputs = value;
      return this;
    }

    /**
     * Makes the context.
     *
     * @throws IllegalArgumentException if noise was set that neither the mask function nor dropout
     *     takes
     */
    public PatchContext build() {
      noise.requireUse(maskFn, dropout);
      return new PatchContext(this);
    }
  }
}
