package org.autocircuit;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.function.Supplier;
import org.autocircuit.PassArguments.Size;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.graph.WrapperSpec;
import org.autocircuit.internal.AllOnesCache;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.IncrementalHandle;
import org.autocircuit.internal.NativeMath;
import org.autocircuit.internal.PatchableHandle;
import org.autocircuit.internal.PatchableHandle.Patch;
import org.autocircuit.internal.Stop;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.internal.jfr.ForwardEvent;
import org.autocircuit.internal.jfr.GradientEvent;
import org.autocircuit.internal.jfr.WorkspaceEvent;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.patch.AblationType;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.MaskValues;
import org.autocircuit.patch.OutputSlice;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.patch.Use;
import org.bytedeco.pytorch.Tensor;

/** The native passes of a patchable model, arguments checked, results handed out. */
final class Passes {

  private static final Logger MEMORY = System.getLogger("org.autocircuit.memory");
  private static final long LARGE = 1L << 30;

  private final String name;
  private final List<String> hookNames;
  private final PassArguments arguments;
  private final OutputSlice defaultSlice;
  private final Precision precision;
  private final String device;
  private final long vocabulary;
  private final Optional<PrefixCache> prefix;
  private final PatchableHandle handle;

  /** The prefix stays the caller's. */
  Passes(
      String name, Model model, ModelGraph graph, OutputSlice slice, Optional<PrefixCache> prefix) {
    this.name = name;
    hookNames = model.hookNames();
    arguments =
        new PassArguments(graph, model.precision(), model.device(), new LinkedHashSet<>(hookNames));
    defaultSlice = slice;
    precision = model.precision();
    device = model.device();
    vocabulary = AnswerTokens.vocabulary(model.config());
    this.prefix = prefix;
    WrapperSpec.Packed wrappers = WrapperSpec.pack(graph.wrapperSpecs());
    handle =
        model
            .handle()
            .makePatchable(name, wrappers.modules(), wrappers.numbers(), graph.seqLen().orElse(0));
  }

  List<String> hookNames() {
    return hookNames;
  }

  /** What stands before the prompts of all passes that bring no prefix of their own. */
  Optional<PrefixCache> prefix() {
    return prefix;
  }

  ForwardResult forward(ForwardRequest request, PatchContext context) {
    ForwardEvent event = ForwardEvent.begun();
    try (Use use = use(request.input(), context);
        CallScope scope = new CallScope()) {
      ModelInput input = behindPrefix(request.input());
      OptionalInt start = request.startBlock();
      Size size =
          start.isPresent() ? arguments.residual(start.getAsInt(), input) : arguments.input(input);
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
          run(
              input,
              passed ->
                  handle.forward(
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
          name, size.batch(), size.seq(), context.isPatched(), grad, request.wantsSourceOutputs());
      ForwardResult result = result(request, results);
      scope.handOutAll(results);
      return result;
    }
  }

  IncrementalRun incrementalRun(ModelInput given, PatchContext context, OutputSlice slice) {
    ForwardEvent event = ForwardEvent.begun();
    try (Use use = use(given, context);
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
      ModelInput input = behindPrefix(given);
      Size size = arguments.input(input);
      Patch patch = arguments.patch(context, size, false);
      IncrementalHandle run =
          run(input, passed -> handle.incrementalRun(passed, NativeCodes.of(slice), patch));
      event.end(name, size.batch(), size.seq(), true, false, false);
      return new IncrementalRun(name, arguments.graph(), size, run);
    }
  }

  float[][] logits(long[][] tokens, PatchContext context) {
    try (Use use = use();
        CallScope scope = new CallScope()) {
      ForwardRequest request =
          ForwardRequest.of(ModelInput.ofPrompts(tokens, device))
              .withGrad(false)
              .withOutputSlice(OutputSlice.LAST_SEQ);
      return TensorArrays.rows(forward(request, context).logits());
    }
  }

  SourceActivations sourceAblations(ModelInput input, AblationType type) {
    if (type.meanOverDataset()) {
      throw new IllegalArgumentException(
          type + " is a mean over a data set: expected batches of prompt pairs, got one tensor");
    }
    try (Use use = use(input, PatchContext.NONE);
        CallScope scope = new CallScope()) {
      AllOnesCache cache = new AllOnesCache();
      try {
        return SourceActivations.of(ablated(input, type, cache), Optional.of(type), cache);
      } catch (RuntimeException | Error e) {
        cache.close();
        throw e;
      }
    }
  }

  SourceActivations sourceAblations(long[][] tokens, AblationType type) {
    try (CallScope scope = new CallScope()) {
      return sourceAblations(ModelInput.ofPrompts(tokens, device), type);
    }
  }

  SourceActivations sourceAblations(
      Iterable<? extends PromptPairBatch> batches, AblationType type) {
    return mean(
        type,
        mean -> {
          for (PromptPairBatch batch : batches) {
            if (type.cleanDataset()) {
              add(mean, ModelInput.ofPrompts(batch.clean(), device));
            }
            if (type.corruptDataset()) {
              add(mean, ModelInput.ofPrompts(batch.corrupt(), device));
            }
          }
        });
  }

  SourceActivations sourceAblations(
      Iterable<Tensor> clean, Iterable<Tensor> corrupt, AblationType type) {
    return mean(
        type,
        mean -> {
          if (type.cleanDataset()) {
            clean.forEach(input -> add(mean, ModelInput.of(input)));
          }
          if (type.corruptDataset()) {
            corrupt.forEach(input -> add(mean, ModelInput.of(input)));
          }
        });
  }

  MaskGradientResult maskGradient(ModelInput given, PatchContext context, AnswerLoss loss) {
    GradientEvent event = GradientEvent.begun();
    try (Use use = use(given, context);
        CallScope scope = new CallScope()) {
      if (!context.isPatched()) {
        throw new IllegalArgumentException("context: expected one that patches, got " + context);
      }
      requireNoStart(false, context);
      ModelInput input = behindPrefix(given);
      Size size = arguments.input(input);
      Patch patch = arguments.patch(context, size, true);
      AnswerTokens answers = new AnswerTokens(loss, size.batch(), vocabulary, arguments, device);
      List<Tensor> results =
          run(
              input,
              passed ->
                  handle.maskGradient(
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

  MaskGradientResult maskGradient(long[][] tokens, PatchContext context, AnswerLoss loss) {
    try (CallScope scope = new CallScope()) {
      MaskGradientResult result = maskGradient(ModelInput.ofPrompts(tokens, device), context, loss);
      scope.handOutAll(List.of(result.gradient(), result.loss(), result.logits()));
      return result;
    }
  }

  MaskGradientResult maskGradient(EdgeAttribution attribution) {
    GradientEvent event = GradientEvent.begun();
    try (Use use = use(attribution);
        CallScope scope = new CallScope()) {
      ModelInput clean = behindPrefix(attribution.clean());
      Size size = arguments.input(clean);
      Optional<ModelInput> corrupt = attribution.corrupt().map(this::behindPrefix);
      corrupt.ifPresent(input -> arguments.corrupt(input, size));
      Tensor activations =
          attribution
              .activations()
              .map(given -> arguments.sources("source activations", given.tensor(), size))
              .orElse(null);
      AnswerLoss loss = attribution.loss();
      AnswerTokens answers = new AnswerTokens(loss, size.batch(), vocabulary, arguments, device);
      List<Tensor> results =
          run(
              attribution.inputs(),
              () ->
                  handle.edgeAttribution(
                      passed(clean),
                      corrupt.map(Passes::passed).orElse(null),
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
  void check(SourceActivations activations, MaskValues masks) {
    arguments.check(activations, masks);
  }

  /** Keeps the model and its prefix open for this thread. */
  Use use() {
    Use use = handle.use()::close;
    return prefix.isPresent() ? use.and(prefix.get()::use) : use;
  }

  /** Keeps all that a pass needs open for this thread. */
  private Use use(ModelInput input, PatchContext context) {
    return use().and(context::use).and(input::use);
  }

  private Use use(EdgeAttribution attribution) {
    Use use = use();
    for (ModelInput input : attribution.inputs()) {
      use = use.and(input::use);
    }
    Optional<SourceActivations> activations = attribution.activations();
    return activations.isPresent() ? use.and(activations.get()::use) : use;
  }

  void requireUsable() {
    handle.requireUsable();
  }

  boolean isClosed() {
    return handle.isClosed();
  }

  /** Closes; false if it was closed before. */
  boolean close() {
    return handle.close();
  }

  private SourceActivations mean(AblationType type, Consumer<DataSetMean> addAll) {
    if (!type.meanOverDataset()) {
      throw new IllegalArgumentException(
          type + " is none over a data set: expected one tensor of inputs, got batches");
    }
    try (Use use = use();
        CallScope scope = new CallScope();
        DataSetMean mean = new DataSetMean(precision)) {
      addAll.accept(mean);
      return SourceActivations.of(mean.mean(), Optional.of(type), null);
    }
  }

  private void add(DataSetMean mean, ModelInput input) {
    Stop.check();
    try (CallScope scope = new CallScope()) {
      mean.add(ablated(input, AblationType.RESAMPLE, null), input.attentionMask());
    }
  }

  private Tensor ablated(ModelInput given, AblationType type, AllOnesCache cache) {
    ForwardEvent event = ForwardEvent.begun();
    ModelInput input = behindPrefix(given);
    Size size = arguments.input(input);
    Tensor activations =
        run(input, passed -> handle.sourceAblations(passed, NativeCodes.of(type), cache));
    event.end(name, size.batch(), size.seq(), false, false, true);
    long bytes = activations.storage().nbytes();
    if (bytes >= LARGE) {
      MEMORY.log(
          Level.INFO,
          String.format(
              Locale.ROOT,
              "source activations %s of %s hold %,d bytes",
              Arrays.toString(activations.shape()),
              name,
              bytes));
    }
    return activations;
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

  private ModelInput behindPrefix(ModelInput input) {
    return prefix.isPresent() && input.prefix().isEmpty() ? input.withPrefix(prefix.get()) : input;
  }

  /** Makes a native call. If it fails, the input's tokens are looked at for a better word. */
  private <T> T run(ModelInput input, Function<PatchableHandle.Input, T> call) {
    return run(List.of(input), () -> call.apply(passed(input)));
  }

  private <T> T run(List<ModelInput> inputs, Supplier<T> call) {
    try {
      T results = call.get();
      WorkspaceEvent.ifGrown(NativeMath::workspaceBytes);
      return results;
    } catch (NativeException e) {
      inputs.forEach(input -> arguments.tokens(input.value(), e));
      throw e;
    }
  }

  private static PatchableHandle.Input passed(ModelInput input) {
    return new PatchableHandle.Input(
        input.value(),
        input.attentionMask().orElse(null),
        input.prefix().map(PrefixCache::entries).orElse(List.of()));
  }

  private static boolean requiresGrad(Tensor tensor) {
    return tensor != null && tensor.requires_grad();
  }

  private static ForwardResult result(ForwardRequest request, List<Tensor> results) {
    int next = 1;
    Optional<Tensor> sourceOutputs = Optional.empty();
    if (request.wantsSourceOutputs()) {
      sourceOutputs = Optional.of(results.get(next++));
    }
    Map<String, Tensor> reads = new LinkedHashMap<>();
    for (String name : request.reads()) {
      reads.put(name, results.get(next++));
    }
    return new ForwardResult(results.get(0), sourceOutputs, Collections.unmodifiableMap(reads));
  }
}
