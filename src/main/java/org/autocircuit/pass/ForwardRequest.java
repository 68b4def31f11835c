package org.autocircuit.pass;

import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.function.Consumer;
import java.util.function.Function;
import org.autocircuit.internal.Numbers;
import org.autocircuit.patch.PatchContext;
import org.bytedeco.pytorch.Tensor;

/**
 * A forward pass with everything that can be asked of it. Immutable: each {@code with} method
 * returns another request. The tensors in it must live until it is run.
 *
 * <pre>{@code
 * ForwardResult result =
 *     model.forward(
 *         ForwardRequest.of(tokens)
 *             .withContext(PatchContext.NONE)
 *             .withReads("blocks.0.attn.hook_pattern"));
 * }</pre>
 */
public final class ForwardRequest {

  private final Parts parts;

  private ForwardRequest(Parts parts) {
    this.parts = parts;
  }

  /** The fields of a request. Written only before the request exists, which then publishes it. */
  private static final class Parts {
    Function<String, ModelInput> input;
    OptionalInt startBlock = OptionalInt.empty();
    Tensor startSourceOutputs;
    PatchContext context;
    OutputSlice outputSlice;
    Boolean grad;
    boolean wantsSourceOutputs;
    List<String> reads = List.of();
    PlanPolicy planPolicy = PlanPolicy.AUTO;
    Map<String, Tensor> added = Map.of();

    Parts copy() {
      Parts copy = new Parts();
      copy.input = input;
      copy.startBlock = startBlock;
      copy.startSourceOutputs = startSourceOutputs;
      copy.context = context;
      copy.outputSlice = outputSlice;
      copy.grad = grad;
      copy.wantsSourceOutputs = wantsSourceOutputs;
      copy.reads = reads;
      copy.planPolicy = planPolicy;
      copy.added = added;
      return copy;
    }
  }

  private ForwardRequest with(Consumer<Parts> change) {
    Parts changed = parts.copy();
    change.accept(changed);
    return new ForwardRequest(changed);
  }

  /**
   * A pass through the whole model, with the thread's open modes, the model's output slice, and
   * gradients if one of the tensors it takes requires them.
   *
   * @param input tokens {@code [batch, seq]}, 64-bit integers; for a micro model floats {@code
   *     [batch, seq, d_model]}
   */
  public static ForwardRequest of(Tensor input) {
    return of(ModelInput.of(input));
  }

  /** As {@link #of(Tensor)}, of an input that may have padding or stand after a prefix. */
  public static ForwardRequest of(ModelInput input) {
    Objects.requireNonNull(input, "input");
    return of(device -> input);
  }

  /**
   * As {@link #of(Tensor)}, of prompts as Java arrays, which are copied. They become tensors where
   * the model is when the request is run; shorter ones are padded on the left.
   *
   * @param tokens {@code [batch][seq of each]}
   * @see ModelInput#ofPrompts
   */
  public static ForwardRequest of(long[][] tokens) {
    long[][] copy = Arrays.stream(tokens).map(long[]::clone).toArray(long[][]::new);
    return of(device -> ModelInput.ofPrompts(copy, device));
  }

  private static ForwardRequest of(Function<String, ModelInput> input) {
    Parts parts = new Parts();
    parts.input = input;
    return new ForwardRequest(parts);
  }

  /**
   * A pass that begins at a block. If it is patched and begins behind block 0, it needs the outputs
   * of the sources before the block, too: {@link #withStartSourceOutputs}. From the residual stream
   * that tokens have at block 0 a pass is the same as from the tokens.
   *
   * @param block 0 or more
   * @param residual the residual stream that enters the block, {@code [batch, seq, d_model]}
   */
  public static ForwardRequest startingAt(int block, Tensor residual) {
    Numbers.atLeast(0, "startBlock", block);
    return of(residual).with(parts -> parts.startBlock = OptionalInt.of(block));
  }

  /** This request with padding where a mask is 0; see {@link ModelInput}. */
  public ForwardRequest withAttentionMask(Tensor mask) {
    Objects.requireNonNull(mask, "attentionMask");
    return withInput(parts.input.andThen(input -> input.withAttentionMask(mask)));
  }

  /** This request after a prefix, instead of the model's own if it has one. */
  public ForwardRequest withPrefix(PrefixCache prefix) {
    Objects.requireNonNull(prefix, "prefix");
    return withInput(parts.input.andThen(input -> input.withPrefix(prefix)));
  }

  /**
   * This request with a context, ignoring open modes; {@link PatchContext#NONE}: the plain model.
   */
  public ForwardRequest withContext(PatchContext value) {
    Objects.requireNonNull(value, "context");
    return with(parts -> parts.context = value);
  }

  /** This request with the logits of other positions than the model's options say. */
  public ForwardRequest withOutputSlice(OutputSlice value) {
    Objects.requireNonNull(value, "outputSlice");
    return with(parts -> parts.outputSlice = value);
  }

  /**
   * This request with or without a record for backward passes. Needed where only weights require
   * gradients: those are not looked at.
   */
  public ForwardRequest withGrad(boolean value) {
    return with(parts -> parts.grad = value);
  }

  /** This request, computed in a certain way; {@link PlanPolicy#AUTO} unless said. */
  public ForwardRequest withPlanPolicy(PlanPolicy value) {
    Objects.requireNonNull(value, "planPolicy");
    return with(parts -> parts.planPolicy = value);
  }

  /** This request, returning the outputs of all sources, too. */
  public ForwardRequest withSourceOutputs() {
    return with(parts -> parts.wantsSourceOutputs = true);
  }

  /**
   * This request, returning the activations at hook points, too; see {@code hookNames()}. Where the
   * pass is recorded, they are what the model goes on with, so gradients of the logits reach them.
   */
  public ForwardRequest withReads(String... hookNames) {
    return withReads(List.of(hookNames));
  }

  /** As {@link #withReads(String...)}. */
  public ForwardRequest withReads(Collection<String> hookNames) {
    List<String> names = List.copyOf(new LinkedHashSet<>(hookNames));
    return with(parts -> parts.reads = names);
  }

  /**
   * This request with something added to the value at a hook point, behind all that reads, patches
   * or records it there: a read of that hook point and the source's output do not have it, and
   * patching edges does not take it away. What was added there before is replaced. Such a pass runs
   * all of the model, whatever its masks.
   *
   * @param hookName of a value {@code [batch, seq, d_model]}: where blocks begin and end ({@code
   *     hook_resid_pre}, {@code hook_resid_post}), between attention and MLP ({@code
   *     hook_resid_mid}), or what the two put out ({@code hook_attn_out}, {@code hook_mlp_out})
   * @param value {@code [batch or 1, seq or 1, d_model]}, of the model's precision and device
   */
  public ForwardRequest withAdded(String hookName, Tensor value) {
    Objects.requireNonNull(hookName, "hookName");
    Objects.requireNonNull(value, "value");
    Map<String, Tensor> more = new LinkedHashMap<>(parts.added);
    more.put(hookName, value);
    return with(parts -> parts.added = Collections.unmodifiableMap(more));
  }

  /**
   * This request, which begins at a block, with the outputs that the sources before it had.
   *
   * @param value {@code [n_srcs, batch, seq, d_model]}; rows of later sources are not read, so at
   *     block 0, whose first source is the stream itself, none is
   */
  public ForwardRequest withStartSourceOutputs(Tensor value) {
    return with(parts -> parts.startSourceOutputs = value);
  }

  /**
   * Tokens, or the residual stream that enters {@link #startBlock}, and what goes with them.
   *
   * @param device where prompts that came as Java arrays are made tensors, which belong to the
   *     innermost {@code PointerScope}; what came as tensors stays as it is
   */
  public ModelInput input(String device) {
    return parts.input.apply(device);
  }

  /** The block to begin at; empty: at the embedding. */
  public OptionalInt startBlock() {
    return parts.startBlock;
  }

  /** Outputs of the sources before {@link #startBlock}. */
  public Optional<Tensor> startSourceOutputs() {
    return Optional.ofNullable(parts.startSourceOutputs);
  }

  /** The context; empty: the thread's open modes. */
  public Optional<PatchContext> context() {
    return Optional.ofNullable(parts.context);
  }

  /** The positions whose logits are computed; empty: what the model's options say. */
  public Optional<OutputSlice> outputSlice() {
    return Optional.ofNullable(parts.outputSlice);
  }

  /**
   * Returns whether the pass is recorded for backward; empty: if a tensor it takes requires
   * gradients.
   */
  public Optional<Boolean> grad() {
    return Optional.ofNullable(parts.grad);
  }

  /** Returns whether the outputs of all sources are returned. */
  public boolean wantsSourceOutputs() {
    return parts.wantsSourceOutputs;
  }

  /** The hook points to read. */
  public List<String> reads() {
    return parts.reads;
  }

  /** The vectors added at hook points; an unmodifiable map. */
  public Map<String, Tensor> added() {
    return parts.added;
  }

  /** Returns how the pass is computed. */
  public PlanPolicy planPolicy() {
    return parts.planPolicy;
  }

  private ForwardRequest withInput(Function<String, ModelInput> value) {
    return with(parts -> parts.input = value);
  }
}
