package org.autocircuit.internal.run;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.EdgeAttribution;
import org.autocircuit.attribution.MaskGradientResult;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.graph.WrapperSpec;
import org.autocircuit.internal.Access;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.IncrementalHandle;
import org.autocircuit.internal.NativeCodes;
import org.autocircuit.internal.PatchableHandle;
import org.autocircuit.internal.PatchableHandle.Patch;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.internal.jfr.ForwardEvent;
import org.autocircuit.internal.jfr.GradientEvent;
import org.autocircuit.internal.run.PassArguments.Size;
import org.autocircuit.model.Model;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ForwardResult;
import org.autocircuit.pass.IncrementalRun;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.pass.PrefixCache;
import org.autocircuit.patch.AblationType;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.MaskValues;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.patch.Use;
import org.bytedeco.pytorch.Tensor;

/** The native passes of a patchable model, arguments checked, results handed out. */
public final class Passes {

  private static final Access.OfModel<Model> MODELS = Access.model(Model.class);
  private static final Access.OfIncrementalRun<IncrementalRun, ModelGraph> RUNS =
      Access.incrementalRun(IncrementalRun.class, ModelGraph.class);

  private final String name;
  private final List<String> hookNames;
  private final PassArguments arguments;
  private final OutputSlice defaultSlice;
  private final String device;
  private final long vocabulary;
  private final PassHandle handle;
  private final AblationPasses ablations;

  /** The prefix stays the caller's. */
  public Passes(
      String name, Model model, ModelGraph graph, OutputSlice slice, Optional<PrefixCache> prefix) {
    this.name = name;
    hookNames = model.hookNames();
    arguments =
        new PassArguments(graph, model.precision(), model.device(), new LinkedHashSet<>(hookNames));
    defaultSlice = slice;
    device = model.device();
    vocabulary = AnswerTokens.vocabulary(model.config());
    WrapperSpec.Packed wrappers = WrapperSpec.pack(graph.wrapperSpecs());
    PatchableHandle made =
        MODELS
            .handle(model)
            .makePatchable(name, wrappers.modules(), wrappers.numbers(), graph.seqLen().orElse(0));
    handle = new PassHandle(made, arguments, prefix);
    ablations = new AblationPasses(name, model.precision(), device, arguments, handle);
  }

  public List<String> hookNames() {
    return hookNames;
  }

  /** Returns what stands before the prompts of all passes that bring no prefix of their own. */
  public Optional<PrefixCache> prefix() {
    return handle.prefix();
  }

  /** Keys and values of tokens {@code [1 or batch, prefix]}, behind the prefix of all passes. */
  public PrefixCache prefixOf(Tensor tokens) {
    return PrefixPass.of(this, arguments.graph().config(), tokens);
  }

  /** As {@link #prefixOf(Tensor)}. */
  public PrefixCache prefixOf(long[][] tokens) {
    try (CallScope scope = new CallScope()) {
      return prefixOf(TensorArrays.of(tokens, "tokens", device));
    }
  }

  public ForwardResult forward(ForwardRequest request, PatchContext context) {
    ForwardEvent event = ForwardEvent.begun();
    // The scope first: prompts that come as arrays are made tensors in it.
    try (CallScope scope = new CallScope()) {
      ModelInput given = request.input(device);
      try (Use use = handle.use(given, context)) {
        ModelInput input = handle.behindPrefix(given);
        OptionalInt start = request.startBlock();
        Size size =
            start.isPresent()
                ? arguments.residual(start.getAsInt(), input)
                : arguments.input(input);
        arguments.reads(request.reads(), start);
        Tensor startSrcOuts =
            start.isPresent() ? startSourceOutputs(request, context, start.getAsInt(), size) : null;
        if (start.isEmpty()) {
          requireNoStart(request.startSourceOutputs().isPresent(), context);
        }
        Patch patch = arguments.patch(context, size, false);
        boolean grad =
            request
                .grad()
                .orElse(
                    requiresGrad(input.value())
                        || requiresGrad(startSrcOuts)
                        || requiresGrad(patch.patchSrcOuts())
                        || requiresGrad(patch.masks()));
        List<Tensor> results =
            handle.run(
                input,
                (model, passed) ->
                    model.forward(
                        passed,
                        start.orElse(-1),
                        startSrcOuts,
                        NativeCodes.of(request.outputSlice().orElse(defaultSlice)),
                        grad,
                        request.wantsSourceOutputs(),
                        context.isPatched(),
                        patch,
                        request.reads(),
                        NativeCodes.of(request.planPolicy())));
        event.end(
            name,
            size.batch(),
            size.seq(),
            context.isPatched(),
            grad,
            request.wantsSourceOutputs());
        ForwardResult result = result(request, results);
        scope.handOutAll(results);
        return result;
      }
    }
  }

  public IncrementalRun incrementalRun(ModelInput given, PatchContext context, OutputSlice slice) {
    ForwardEvent event = ForwardEvent.begun();
    try (Use use = handle.use(given, context);
        CallScope scope = new CallScope()) {
      if (!context.isPatched()
          || context.maskFn() != MaskFn.NONE
          || context.dropout() > 0
          || context
              .masks()
              .flatMap(masks -> masks.examples().stream().boxed().findAny())
              .isPresent()) {
        throw new IllegalArgumentException(
            "context: expected one that patches, without mask function or dropout and with masks "
                + "that all examples share, got "
                + context);
      }
      requireNoStart(false, context);
      ModelInput input = handle.behindPrefix(given);
      Size size = arguments.input(input);
      Patch patch = arguments.patch(context, size, false);
      IncrementalHandle run =
          handle.run(
              input, (model, passed) -> model.incrementalRun(passed, NativeCodes.of(slice), patch));
      event.end(name, size.batch(), size.seq(), true, false, false);
      return RUNS.make(name, arguments.graph(), size.batch(), size.seq(), run);
    }
  }

  public float[][] logits(long[][] tokens, PatchContext context) {
    try (Use use = handle.use();
        CallScope scope = new CallScope()) {
      ForwardRequest request =
          ForwardRequest.of(ModelInput.ofPrompts(tokens, device))
              .withGrad(false)
              .withOutputSlice(OutputSlice.LAST_SEQ);
      return TensorArrays.rows(forward(request, context).logits());
    }
  }

  public SourceActivations sourceAblations(ModelInput input, AblationType type) {
    return ablations.of(input, type);
  }

  public SourceActivations sourceAblations(long[][] tokens, AblationType type) {
    return ablations.of(tokens, type);
  }

  public SourceActivations sourceAblations(
      Iterable<? extends PromptPairBatch> batches, AblationType type) {
    return ablations.of(batches, type);
  }

  public SourceActivations sourceAblations(
      Iterable<Tensor> clean, Iterable<Tensor> corrupt, AblationType type) {
    return ablations.of(clean, corrupt, type);
  }

  public MaskGradientResult maskGradient(ModelInput given, PatchContext context, AnswerLoss loss) {
    GradientEvent event = GradientEvent.begun();
    try (Use use = handle.use(given, context);
        CallScope scope = new CallScope()) {
      if (!context.isPatched()) {
        throw new IllegalArgumentException("context: expected one that patches, got " + context);
      }
      requireNoStart(false, context);
      ModelInput input = handle.behindPrefix(given);
      Size size = arguments.input(input);
      Patch patch = arguments.patch(context, size, true);
      AnswerTokens answers = new AnswerTokens(loss, size.batch(), vocabulary, arguments, device);
      List<Tensor> results =
          handle.run(
              input,
              (model, passed) ->
                  model.maskGradient(
                      passed,
                      patch,
                      NativeCodes.of(loss.gradFunction()),
                      NativeCodes.of(loss.answerFunction()),
                      answers.answers(),
                      answers.wrongAnswers()));
      event.end(name, size.batch(), size.seq());
      return gradientResult(scope, results);
    }
  }

  public MaskGradientResult maskGradient(long[][] tokens, PatchContext context, AnswerLoss loss) {
    try (CallScope scope = new CallScope()) {
      MaskGradientResult result = maskGradient(ModelInput.ofPrompts(tokens, device), context, loss);
      scope.handOutAll(List.of(result.gradient(), result.loss(), result.logits()));
      return result;
    }
  }

  public MaskGradientResult maskGradient(EdgeAttribution attribution) {
    GradientEvent event = GradientEvent.begun();
    try (Use use = handle.use(attribution);
        CallScope scope = new CallScope()) {
      ModelInput clean = handle.behindPrefix(attribution.clean());
      Size size = arguments.input(clean);
      Optional<ModelInput> corrupt = attribution.corrupt().map(handle::behindPrefix);
      corrupt.ifPresent(input -> arguments.corrupt(input, size));
      Tensor activations =
          attribution
              .activations()
              .map(given -> arguments.sources("source activations", given.tensor(), size))
              .orElse(null);
      AnswerLoss loss = attribution.loss();
      AnswerTokens answers = new AnswerTokens(loss, size.batch(), vocabulary, arguments, device);
      List<Tensor> results =
          handle.run(
              PassHandle.inputs(attribution),
              model ->
                  model.edgeAttribution(
                      PassHandle.passed(clean),
                      corrupt.map(PassHandle::passed).orElse(null),
                      activations,
                      attribution.maskValue(),
                      NativeCodes.of(loss.gradFunction()),
                      NativeCodes.of(loss.answerFunction()),
                      answers.answers(),
                      answers.wrongAnswers(),
                      attribution.memoryLimit()));
      event.end(name, size.batch(), size.seq());
      return gradientResult(scope, results);
    }
  }

  private static MaskGradientResult gradientResult(CallScope scope, List<Tensor> results) {
    scope.handOutAll(results);
    return new MaskGradientResult(results.get(0), results.get(1), results.get(2));
  }

  /** Checks what of a patch does not depend on the pass. */
  public void check(SourceActivations activations, MaskValues masks) {
    arguments.check(activations, masks);
  }

  /** Keeps the model and its prefix open for this thread. */
  public Use use() {
    return handle.use();
  }

  public void requireUsable() {
    handle.requireUsable();
  }

  public boolean isClosed() {
    return handle.isClosed();
  }

  /** Closes; false if it was closed before. */
  public boolean close() {
    return handle.close();
  }

  /** Refuses what a pass from the tokens would ignore. */
  private static void requireNoStart(boolean given, PatchContext context) {
    if (given || context.startSourceOutputs().isPresent()) {
      throw new IllegalArgumentException(
          "start source outputs: expected none, since the pass begins at the tokens and not at a"
              + " block");
    }
  }

  private Tensor startSourceOutputs(
      ForwardRequest request, PatchContext context, int block, Size size) {
    Tensor outputs =
        request
            .startSourceOutputs()
            .or(() -> context.startSourceOutputs().map(SourceActivations::tensor))
            .orElse(null);
    if (outputs != null) {
      Tensor checked = arguments.sources("start source outputs", outputs, size);
      return block == 0 ? null : checked;
    }
    if (block == 0) {
      return null; // the stream is the output of the only source before
    }
    if (context.isPatched() || request.wantsSourceOutputs()) {
      throw new IllegalArgumentException(
          "start source outputs: expected the outputs of the sources before block "
              + block
              + ", got none");
    }
    return null;
  }

  private static boolean requiresGrad(Tensor tensor) {
    return tensor != null && tensor.requires_grad();
  }

  private static ForwardResult result(ForwardRequest request, List<Tensor> results) {
    int next = 1;
    Tensor sourceOutputs = null;
    if (request.wantsSourceOutputs()) {
      sourceOutputs = results.get(next++);
    }
    Map<String, Tensor> reads = new LinkedHashMap<>();
    for (String name : request.reads()) {
      reads.put(name, results.get(next++));
    }
    return new ForwardResult(results.get(0), sourceOutputs, Collections.unmodifiableMap(reads));
  }
}
