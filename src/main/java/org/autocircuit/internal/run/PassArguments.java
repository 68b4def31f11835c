package org.autocircuit.internal.run;

import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import org.autocircuit.exception.NativeException;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.graph.NearestName;
import org.autocircuit.graph.SrcModule;
import org.autocircuit.internal.Access;
import org.autocircuit.internal.Arguments;
import org.autocircuit.internal.BlockHooks;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.FullyPatchedCache;
import org.autocircuit.internal.NativeCodes;
import org.autocircuit.internal.NativeMasks;
import org.autocircuit.internal.Patch;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.AutoencoderConfig;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.PrefixCache;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.MaskParameters;
import org.autocircuit.patch.MaskValues;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Checks what users pass to a model and makes native arguments of it. */
final class PassArguments {

  /** Batch and sequence length of a pass. */
  record Size(long batch, long seq) {}

  static final Access.OfMasks<Masks> MASKS = Access.masks(Masks.class);
  private static final Access.OfMaskParameters<MaskParameters> PARAMETERS =
      Access.maskParameters(MaskParameters.class);
  static final Access.OfSourceActivations<SourceActivations, Ablation> ACTIVATIONS =
      Access.sourceActivations(SourceActivations.class, Ablation.class);

  private final ModelGraph graph;
  private final Precision precision;
  private final String device;
  private final Set<String> hookNames;

  PassArguments(ModelGraph graph, Precision precision, String device, Set<String> hookNames) {
    this.graph = graph;
    this.precision = precision;
    this.device = device;
    this.hookNames = hookNames;
  }

  ModelGraph graph() {
    return graph;
  }

  /**
   * Checks tokens, or a micro model's floats, and what goes with them. The values of tokens are
   * left to native code; see {@link #tokens}.
   */
  Size input(ModelInput input) {
    Tensor value = input.value();
    if (!(graph.config() instanceof TransformerConfig)) {
      return context("input", input, stream("input", value));
    }
    Arguments.live("tokens", value);
    Arguments.shape("tokens", value, "[batch, seq]", Arguments.ANY, Arguments.ANY);
    Arguments.type("tokens", value, ScalarType.Long);
    Arguments.device("tokens", value, device);
    return context("tokens", input, size("tokens", value));
  }

  /** Checks corrupt prompts beside clean ones of this size. */
  void corrupt(ModelInput corrupt, Size clean) {
    Size size = input(corrupt);
    if (!size.equals(clean)) {
      throw new IllegalArgumentException(
          "corrupt tokens: expected [%s, %s] like the clean ones, got [%s, %s]"
              .formatted(clean.batch(), clean.seq(), size.batch(), size.seq()));
    }
  }

  /** Checks the residual stream that enters a block, and what goes with it. */
  Size residual(int block, ModelInput input) {
    if (block >= graph.config().nLayers()) {
      throw new IllegalArgumentException(
          "startBlock: expected 0 to %s, got %s".formatted(graph.config().nLayers() - 1, block));
    }
    return context("residual", input, stream("residual", input.value()));
  }

  /**
   * Refuses tokens outside the vocabulary. Native code does so, too, at every pass; this says it in
   * words of this library once it has. A residual stream in place of tokens is left alone. On other
   * devices than the CPU the values are not looked at: that would wait for the device.
   *
   * @param failure what native code said
   */
  void tokens(Tensor tokens, NativeException failure) {
    if (!(graph.config() instanceof TransformerConfig config)
        || tokens.scalar_type().intern() != ScalarType.Long
        || !tokens.is_cpu()) {
      return;
    }
    long[] values = TensorArrays.longs(tokens);
    int seq = Math.toIntExact(tokens.size(1));
    for (int i = 0; i < values.length; i++) {
      if (values[i] < 0 || values[i] >= config.dVocab()) {
        throw new IllegalArgumentException(
            "tokens: expected 0 to %s, got %s in row %s at position %s"
                .formatted(config.dVocab() - 1, values[i], i / seq, i % seq),
            failure);
      }
    }
  }

  /** Checks source outputs, activations or anything else with a row for each source. */
  Tensor sources(String name, Tensor tensor, Size size) {
    Arguments.live(name, tensor);
    boolean shared = tensor.dim() == 4 && tensor.size(1) == 1;
    sources(name, tensor, shared ? 1 : size.batch, size.seq);
    return shared
        ? tensor.expand(graph.srcs().size(), size.batch, size.seq, graph.config().dModel())
        : tensor;
  }

  /** Checks which sources are scored; all where nothing is said. */
  SrcModule sources(Optional<SrcModule> some) {
    SrcModule all = new SrcModule("all", 0, graph.srcs().size());
    SrcModule chosen = some.orElse(all);
    if (chosen.srcStart() < 0
        || chosen.srcStart() >= chosen.srcStop()
        || chosen.srcStop() > all.srcStop()) {
      throw new IllegalArgumentException(
          "sources: expected some of %s, got %s".formatted(all.srcStop(), chosen));
    }
    return chosen;
  }

  /** As {@link #sources}, of activations within their use. */
  Tensor activations(SourceActivations given, Size size) {
    return sources("source activations", ACTIVATIONS.tensor(given), size);
  }

  private void sources(String name, Tensor tensor, long batch, long seq) {
    Arguments.shape(
        name,
        tensor,
        "[n_srcs, batch, seq, d_model]",
        graph.srcs().size(),
        batch,
        seq,
        graph.config().dModel());
    Arguments.type(name, tensor, precision.scalarType());
    Arguments.device(name, tensor, device);
  }

  /** Checks what of a patch does not depend on the pass. */
  void check(SourceActivations activations, MaskValues masks) {
    try (CallScope scope = new CallScope()) {
      PassHandle.hold(scope, Objects.requireNonNull(activations, "activations")::use);
      Tensor tensor = ACTIVATIONS.tensor(activations);
      sources("source activations", tensor, Arguments.ANY, Arguments.ANY);
    }
    graph(Objects.requireNonNull(masks, "masks"));
  }

  void graph(MaskValues masks) {
    if (!graph.equals(masks.graph())) {
      throw new IllegalArgumentException(
          "masks: expected those of a %s, got those of a %s".formatted(graph, masks.graph()));
    }
  }

  /** Refuses another number of positions than a graph has that has an edge for each. */
  void positions(long seq) {
    if (graph.seqLen().isPresent() && graph.seqLen().getAsInt() != seq) {
      throw new IllegalArgumentException(
          "tokens: expected %s positions, as many as the graph has, got %s"
              .formatted(graph.seqLen().getAsInt(), seq));
    }
  }

  /**
   * Checks a context, and makes native arguments of it within its use.
   *
   * @param scope keeps the masks open, and has the tensors that are made
   * @param training whether dropout acts even on masks that no mode trains
   */
  Patch patch(CallScope scope, PatchContext context, Size size, boolean training) {
    SourceActivations activations = context.activations().orElse(null);
    MaskValues masks = context.masks().orElse(null);
    if (activations == null || masks == null) {
      return Patch.NONE;
    }
    graph(masks);
    positions(size.seq);
    Tensor patchSrcOuts = activations(activations, size);
    OptionalInt examples = masks.examples();
    if (examples.isPresent() && examples.getAsInt() != size.batch) {
      throw new IllegalArgumentException(
          "masks: expected those of %s examples, the size of the batch, got those of %s"
              .formatted(size.batch, examples.getAsInt()));
    }
    Tensor maskTensor;
    long plans = 0;
    boolean trained = training;
    if (masks instanceof MaskParameters parameters) {
      maskTensor = PARAMETERS.inForce(parameters);
      trained |= parameters.isTraining();
    } else {
      NativeMasks fixed =
          MASKS.onDevice((Masks) masks, precision.accumulation().scalarType(), device);
      scope.hold(fixed.use());
      maskTensor = fixed.tensor();
      plans = fixed.plans();
    }
    FullyPatchedCache fullyPatched = ACTIVATIONS.fullyPatched(activations);
    long seed = 0;
    long step = 0;
    Tensor uniforms = null;
    if (context.noise() instanceof Noise.Seeded seeded) {
      seed = seeded.seed();
      step = seeded.step();
    } else if (context.noise() instanceof Noise.Uniforms given) {
      uniforms = uniforms(given.tensor(), size);
    }
    return new Patch(
        patchSrcOuts,
        fullyPatched == null ? 0 : fullyPatched.address(),
        maskTensor,
        plans,
        NativeCodes.of(context.maskFn()),
        trained ? context.dropout() : 0,
        seed,
        step,
        uniforms);
  }

  /** Checks what a squared loss compares logits with. */
  Tensor targets(Tensor targets, long batch, long vocabulary) {
    Arguments.live("targets", targets);
    Arguments.shape("targets", targets, "[batch, d_vocab]", batch, vocabulary);
    Arguments.type("targets", targets, precision.scalarType());
    Arguments.device("targets", targets, device);
    return targets;
  }

  /** Checks names of hook points. */
  void reads(List<String> names, OptionalInt startBlock) {
    for (String name : names) {
      NearestName.require("hook point", name, hookNames);
      if (startBlock.isPresent() && isBefore(name, startBlock.getAsInt())) {
        throw new IllegalArgumentException(
            "hook point '%s' is before block %s, where the pass begins"
                .formatted(name, startBlock.getAsInt()));
      }
    }
  }

  /** Checks what a pass adds at hook points; native code knows where it can be added. */
  void added(Map<String, Tensor> added, Size size, OptionalInt startBlock) {
    reads(List.copyOf(added.keySet()), startBlock);
    added.forEach((hookName, value) -> added("added at " + hookName, value, size));
  }

  /** As {@link #added}, where values may be those of several points. */
  void addedAtPoints(Map<String, Tensor> added, Size size, OptionalInt startBlock) {
    reads(List.copyOf(added.keySet()), startBlock);
    added.forEach(
        (hookName, value) -> {
          String name = "added at " + hookName;
          Arguments.live(name, value);
          added(name, value.dim() == 4 && value.size(0) > 0 ? value.select(0, 0) : value, size);
        });
  }

  private void added(String name, Tensor value, Size size) {
    Arguments.live(name, value);
    boolean fits = value.dim() == 3;
    Arguments.shape(
        name,
        value,
        "[batch or 1, seq or 1, d_model]",
        fits && value.size(0) == 1 ? 1 : size.batch,
        fits && value.size(1) == 1 ? 1 : size.seq,
        graph.config().dModel());
    Arguments.type(name, value, precision.scalarType());
    Arguments.device(name, value, device);
  }

  /** Hook names are in execution order. */
  private boolean isBefore(String hookName, int startBlock) {
    String block = BlockHooks.of(startBlock, "");
    return hookNames.stream().takeWhile(name -> !name.startsWith(block)).anyMatch(hookName::equals);
  }

  private Tensor uniforms(Tensor uniforms, Size size) {
    Arguments.live("uniforms", uniforms);
    Arguments.shape("uniforms", uniforms, "[batch, n_masks]", size.batch, graph.maskSize());
    Arguments.type("uniforms", uniforms, precision.accumulation().scalarType());
    Arguments.device("uniforms", uniforms, device);
    return uniforms;
  }

  private Size stream(String name, Tensor stream) {
    Arguments.live(name, stream);
    int dModel = graph.config().dModel();
    String shape = "[batch, seq, d_model]";
    Arguments.shape(name, stream, shape, Arguments.ANY, Arguments.ANY, dModel);
    Arguments.type(name, stream, precision.scalarType());
    Arguments.device(name, stream, device);
    return size(name, stream);
  }

  private Size size(String name, Tensor input) {
    Size size = new Size(input.size(0), input.size(1));
    if (size.batch == 0 || size.seq == 0) {
      throw new IllegalArgumentException(
          "%s: expected at least one prompt and one position, got %s and %s"
              .formatted(name, size.batch, size.seq));
    }
    return size;
  }

  private Size context(String name, ModelInput input, Size size) {
    input
        .prefix()
        .ifPresent(
            prefix -> {
              PrefixPass.requireOpenFits(prefix, graph.config(), precision, device);
              PrefixPass.requireServes(prefix, size.batch);
            });
    if (!(graph.config() instanceof TransformerConfig config)) {
      if (input.attentionMask().isPresent()) {
        throw new IllegalArgumentException(
            "attention mask: expected none, since a model of %s has no attention"
                .formatted(graph.config()));
      }
      return size;
    }
    int prefix = input.prefix().map(PrefixCache::length).orElse(0);
    if (prefix + size.seq > config.nCtx()) {
      throw new IllegalArgumentException(
          "%s: expected at most %s positions (n_ctx), got %s%s"
              .formatted(
                  name, config.nCtx(), size.seq, prefix > 0 ? " after a prefix of " + prefix : ""));
    }
    config.autoencoders().ifPresent(autoencoders -> positions(name, size, autoencoders));
    input.attentionMask().ifPresent(mask -> attentionMask(mask, size));
    return size;
  }

  private static void positions(String name, Size size, AutoencoderConfig autoencoders) {
    OptionalInt seqLen = autoencoders.seqLen();
    if (seqLen.isPresent() && size.seq != seqLen.getAsInt()) {
      throw new IllegalArgumentException(
          "%s: expected %s positions, as many as have latents of their own, got %s"
              .formatted(name, seqLen.getAsInt(), size.seq));
    }
  }

  private void attentionMask(Tensor mask, Size size) {
    String name = "attention mask";
    Arguments.live(name, mask);
    Arguments.shape(name, mask, "[batch, seq]", size.batch, size.seq);
    if (mask.scalar_type().intern() != ScalarType.Bool) {
      Arguments.type(name, mask, ScalarType.Long);
    }
    Arguments.device(name, mask, device);
    if (!mask.is_cpu()) {
      return; // to look at the values would wait for the device
    }
    long[] values = TensorArrays.longs(mask);
    int seq = Math.toIntExact(size.seq);
    for (int row = 0; row < size.batch; row++) {
      long[] of = Arrays.copyOfRange(values, row * seq, (row + 1) * seq);
      long tokens = Arrays.stream(of).sum();
      for (int i = 0; i < seq; i++) {
        if (tokens < 1 || of[i] != (i < seq - tokens ? 0 : 1)) {
          throw new IllegalArgumentException(
              ("%s: expected in each row 0 for padding, then 1 for at least one token, got %s in row"
                      + " %s")
                  .formatted(name, Arrays.toString(of), row));
        }
      }
    }
  }
}
