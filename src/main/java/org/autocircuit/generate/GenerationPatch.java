package org.autocircuit.generate;

import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.stream.IntStream;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.Numbers;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;

/**
 * Says how an answer is patched while it is generated. Only that can be generated whose patch at a
 * position never changes once the position was computed: then each token is what one patched pass
 * over prompt and answer gives, though keys and values are computed once. What would change is
 * refused, and the message says why.
 *
 * <table>
 * <caption>What edges are patched with</caption>
 * <tr><th></th><th>at the answer's positions</th></tr>
 * <tr><td>{@link #zero}, {@link #constant}</td><td>the same as everywhere</td></tr>
 * <tr><td>{@link #positions}</td><td>as {@link Beyond} says behind the last of them</td></tr>
 * <tr><td>{@link #resample}</td><td>what a run on the corrupt prompt puts out, which goes on as
 *     {@link Donor} says</td></tr>
 * </table>
 *
 * <p>Immutable. Source activations stay their owner's, who keeps them open until the requests that
 * have them have begun to run; one whose activations were closed while it waited ends with {@link
 * FinishReason#ERROR}.
 */
public final class GenerationPatch {

  /** The activations that edges are patched with. */
  sealed interface Source {

    /** The plain model. */
    record Nothing() implements Source {}

    /** Zeros. */
    record Zero() implements Source {}

    /** The first position of activations, everywhere. */
    record Constant(SourceActivations activations) implements Source {}

    /** Activations for each of so many positions. */
    record Positions(SourceActivations activations, int length, Beyond beyond) implements Source {}

    /** A run on other tokens. */
    @SuppressWarnings("ArrayRecordComponent") // nobody compares them
    record Resample(int[] corrupt, Donor donor) implements Source {}
  }

  /** Masks from a position up to another; see {@link #phases}. */
  record Phase(int begin, int end, Masks masks) {}

  /** No patching: the plain model. */
  public static final GenerationPatch NONE =
      new GenerationPatch(new Source.Nothing(), null, Span.ALL, null, 0, MaskFn.NONE);

  private final Source source;
  private final Masks masks;
  private final Span span;
  private final Masks after;
  private final int switchAt;
  private final MaskFn maskFn;

  private GenerationPatch(
      Source source, Masks masks, Span span, Masks after, int switchAt, MaskFn maskFn) {
    this.source = source;
    this.masks = masks;
    this.span = span;
    this.after = after;
    this.switchAt = switchAt;
    this.maskFn = maskFn;
  }

  private static GenerationPatch of(Source source, Masks masks) {
    requireShared(masks);
    return new GenerationPatch(source, masks, Span.ALL, null, 0, MaskFn.NONE);
  }

  /** Edges carry zeros, as {@link BatchAblation#ZERO} has it. */
  public static GenerationPatch zero(Masks masks) {
    return of(new Source.Zero(), masks);
  }

  /**
   * Edges carry what does not depend on the position, for instance a mean that was taken before
   * ({@link BatchAblation#BATCH_ALL_TOK_MEAN}).
   *
   * @param activations {@code [n_srcs, 1, 1, d_model]}, or made by an ablation that is the same at
   *     all positions
   * @throws IllegalArgumentException if they are for more than one prompt, or differ from position
   *     to position
   */
  public static GenerationPatch constant(SourceActivations activations, Masks masks) {
    requireOnePrompt(activations);
    long positions = size(activations, 2);
    if (positions != 1 && !isSameEverywhere(activations.ablation())) {
      throw new IllegalArgumentException(
          "source activations: expected one position, or an ablation that is the same at all of"
              + " them, got %s of %s; GenerationPatch.positions takes those"
                  .formatted(positions, activations));
    }
    return of(new Source.Constant(activations), masks);
  }

  /**
   * Edges carry activations of their position.
   *
   * @param activations {@code [n_srcs, 1, positions, d_model]}
   * @param beyond what is behind the last position
   * @throws IllegalArgumentException if they are for more than one prompt
   */
  public static GenerationPatch positions(
      SourceActivations activations, Masks masks, Beyond beyond) {
    requireOnePrompt(activations);
    return of(
        new Source.Positions(
            activations,
            Math.toIntExact(size(activations, 2)),
            Objects.requireNonNull(beyond, "beyond")),
        masks);
  }

  /**
   * Edges carry what their sources put out in a plain run on a corrupt prompt.
   *
   * @param corrupt as many tokens as the prompt; copied
   */
  public static GenerationPatch resample(long[] corrupt, Masks masks, Donor donor) {
    return of(
        new Source.Resample(
            GenerationRequest.tokens("corrupt tokens", corrupt),
            Objects.requireNonNull(donor, "donor")),
        masks);
  }

  /**
   * Edges carry what an ablation makes, if it needs no activations.
   *
   * @throws IllegalArgumentException for all but {@link BatchAblation#ZERO}; says what to use
   */
  public static GenerationPatch of(BatchAblation ablation, Masks masks) {
    return switch (ablation) {
      case ZERO -> zero(masks);
      case RESAMPLE ->
          throw new IllegalArgumentException(
              "ablation: expected ZERO, got RESAMPLE, which needs a corrupt prompt:"
                  + " GenerationPatch.resample");
      case BATCH_TOKENWISE_MEAN, BATCH_ALL_TOK_MEAN ->
          throw new IllegalArgumentException(
              "ablation: expected ZERO, got %s: a mean over requests that run together changes with"
                      .formatted(ablation)
                  + " each of them and with later tokens, so earlier tokens would have to be"
                  + " computed again; take it before, with model.sourceAblations, and use"
                  + " GenerationPatch.constant or positions");
    };
  }

  /**
   * Patches as a context of passes does. Masks are those of now.
   *
   * @throws IllegalArgumentException if the context cannot be kept from token to token: masks for
   *     each example, dropout, given uniforms, outputs of sources before a later block
   */
  public static GenerationPatch of(PatchContext context) {
    if (!context.isPatched()) {
      return NONE;
    }
    if (context.dropout() > 0 || context.noise() instanceof Noise.Uniforms) {
      throw new IllegalArgumentException(
          "context: expected no noise that each pass draws again, got %s: keys and values of earlier"
                  .formatted(context)
              + " tokens would be those of another draw; HARD_CONCRETE with a seed is drawn once for"
              + " a request");
    }
    if (context.startSourceOutputs().isPresent()) {
      throw new IllegalArgumentException(
          "context: expected no start source outputs, since answers begin at their tokens");
    }
    SourceActivations activations = context.activations().orElseThrow();
    Masks masks = Masks.copyOf(context.masks().orElseThrow());
    Optional<Ablation> ablation = activations.ablation();
    GenerationPatch patch =
        ablation.equals(Optional.of(BatchAblation.ZERO))
            ? zero(masks)
            : isSameEverywhere(ablation)
                ? constant(activations, masks)
                : positions(activations, masks, Beyond.REFUSE);
    return patch.withMaskFn(context.maskFn());
  }

  /** This, at some positions only; everywhere else the model is plain. */
  public GenerationPatch at(Span value) {
    return new GenerationPatch(
        source, masks, Objects.requireNonNull(value, "span"), after, switchAt, maskFn);
  }

  /**
   * This, with other masks from a position on; tokens before it stay as they are.
   *
   * @param position counted from the prompt's first token at 0
   */
  public GenerationPatch switchedTo(Masks other, int position) {
    requireShared(other);
    if (masks == null) {
      throw new IllegalArgumentException(
          "patch: expected one that patches, got GenerationPatch.NONE");
    }
    if (!masks.graph().equals(other.graph())) {
      throw new IllegalArgumentException(
          "masks: expected those of a %s, got those of a %s"
              .formatted(masks.graph(), other.graph()));
    }
    return new GenerationPatch(
        source, masks, span, other, Numbers.atLeast(0, "position", position), maskFn);
  }

  /**
   * This, with something applied to mask values. {@link MaskFn#HARD_CONCRETE} is drawn once for the
   * whole answer, from the seed of the request's {@link Sampling}.
   */
  public GenerationPatch withMaskFn(MaskFn value) {
    return new GenerationPatch(
        source, masks, span, after, switchAt, Objects.requireNonNull(value, "maskFn"));
  }

  /** Returns whether anything is patched. */
  public boolean isPatched() {
    return masks != null;
  }

  /** The kind in one word: none, constant, positions or resample. */
  public String kind() {
    if (source instanceof Source.Nothing) {
      return "none";
    }
    if (source instanceof Source.Positions) {
      return "positions";
    }
    return source instanceof Source.Resample ? "resample" : "constant";
  }

  /** The way in which the corrupt prompt goes on; empty: without one. */
  public Optional<Donor> donor() {
    return source instanceof Source.Resample resample
        ? Optional.of(resample.donor())
        : Optional.empty();
  }

  /** The number of edges whose masks are not 0, in the masks that it begins with. */
  public int edges() {
    if (masks == null) {
      return 0;
    }
    return (int)
        IntStream.range(0, masks.graph().maskSize()).filter(i -> masks.get(i) != 0).count();
  }

  /** Refuses source activations that do not fit a model. */
  void checkSource(StepEngine engine) {
    if (source instanceof Source.Constant constant) {
      engine.check(constant.activations(), masks);
    } else if (source instanceof Source.Positions positions) {
      engine.check(positions.activations(), masks);
    }
  }

  Source source() {
    return source;
  }

  MaskFn maskFn() {
    return maskFn;
  }

  /** The masks of a prompt's positions and those behind it; at all others nothing is patched. */
  List<Phase> phases(int prompt) {
    List<Phase> phases = new ArrayList<>();
    if (masks == null) {
      return phases;
    }
    int begin = span.begin(prompt);
    int end = span.end(prompt);
    if (source instanceof Source.Positions positions && positions.beyond() == Beyond.NONE) {
      end = Math.min(end, positions.length());
    }
    int middle = after == null ? end : Math.max(begin, Math.min(end, switchAt));
    addTo(phases, begin, middle, masks);
    addTo(phases, middle, end, after);
    return phases;
  }

  /** Masks of 0 patch nothing, so there the model is the plain one, and needs no donor. */
  private void addTo(List<Phase> phases, int begin, int end, Masks here) {
    if (begin < end && !(maskFn == MaskFn.NONE && here.isZero())) {
      phases.add(new Phase(begin, end, here));
    }
  }

  private static boolean isSameEverywhere(Optional<Ablation> ablation) {
    return ablation.equals(Optional.of(BatchAblation.ZERO))
        || ablation.equals(Optional.of(BatchAblation.BATCH_ALL_TOK_MEAN));
  }

  private static void requireOnePrompt(SourceActivations activations) {
    long prompts = size(activations, 1);
    if (prompts != 1 && !isSameEverywhere(activations.ablation())) {
      throw new IllegalArgumentException(
          "source activations: expected those of one prompt, got those of " + prompts);
    }
  }

  private static long size(SourceActivations activations, int dim) {
    try (CallScope scope = new CallScope()) {
      return activations.tensor().size(dim);
    }
  }

  private static void requireShared(Masks masks) {
    if (masks.examples().isPresent()) {
      throw new IllegalArgumentException(
          "masks: expected one row, since a request is one prompt, got a row for each of %s examples"
              .formatted(masks.examples().getAsInt()));
    }
  }

  @Override
  public String toString() {
    return isPatched() ? "GenerationPatch[%s at %s]".formatted(kind(), span) : "not patched";
  }
}
