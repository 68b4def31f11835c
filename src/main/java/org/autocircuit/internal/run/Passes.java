package org.autocircuit.internal.run;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.function.Function;
import org.autocircuit.exception.NativeException;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.graph.WrapperSpec;
import org.autocircuit.internal.Access;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.IncrementalHandle;
import org.autocircuit.internal.ModelHandle;
import org.autocircuit.internal.NativeCodes;
import org.autocircuit.internal.NativeMath;
import org.autocircuit.internal.Patch;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.internal.jfr.ForwardEvent;
import org.autocircuit.internal.jfr.WorkspaceEvent;
import org.autocircuit.internal.jni.NativeLibrary;
import org.autocircuit.internal.run.PassArguments.Size;
import org.autocircuit.model.Model;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ForwardResult;
import org.autocircuit.pass.IncrementalRun;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.pass.PrefixCache;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.MaskValues;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.patch.Use;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;

/**
 * The native passes of a patchable model. Each call checks its arguments, keeps what it needs open
 * in one scope, calls native code, and hands the results out.
 */
public final class Passes {

  private static final Access.OfModel<Model> MODELS = Access.model(Model.class);
  private static final Access.OfSourceActivations<SourceActivations, ?> ACTIVATIONS =
      PassArguments.ACTIVATIONS;
  private static final Access.OfIncrementalRun<IncrementalRun, ModelGraph> RUNS =
      Access.incrementalRun(IncrementalRun.class, ModelGraph.class);

  private final String name;
  private final List<String> hookNames;
  private final PassArguments arguments;
  private final OutputSlice defaultSlice;
  private final String device;
  private final PassHandle handle;
  private final GradientPasses gradients;
  private final AblationPasses ablations;
  private final TrainingPasses trainings;
  private final Steps steps;
  private final MemoryCounts memory;

  /** The prefix stays the caller's. */
  public Passes(
      String name, Model model, ModelGraph graph, OutputSlice slice, Optional<PrefixCache> prefix) {
    this.name = name;
    hookNames = model.hookNames();
    arguments =
        new PassArguments(graph, model.precision(), model.device(), new LinkedHashSet<>(hookNames));
    defaultSlice = slice;
    device = model.device();
    WrapperSpec.Packed wrappers = WrapperSpec.pack(graph.wrapperSpecs());
    long made =
        MODELS
            .handle(model)
            .makePatchable(wrappers.modules(), wrappers.numbers(), graph.seqLen().orElse(0));
    handle = new PassHandle(name, made, arguments, prefix);
    gradients =
        new GradientPasses(
            name, AnswerTokens.vocabulary(model.config()), device, arguments, handle);
    ablations = new AblationPasses(name, model.precision(), device, arguments, handle);
    trainings = new TrainingPasses(name, slice, arguments, handle);
    steps = new Steps(handle, model.precision(), device);
    memory = new MemoryCounts(arguments, handle);
  }

  public List<String> hookNames() {
    return hookNames;
  }

  /** Passes forward and backward, for the gradients of masks. */
  public GradientPasses gradients() {
    return gradients;
  }

  /** Passes that make source activations. */
  public AblationPasses ablations() {
    return ablations;
  }

  /** Passes that end in a step of an optimiser of masks. */
  public TrainingPasses trainings() {
    return trainings;
  }

  /** Steps that add tokens to sequences. */
  public Steps steps() {
    return steps;
  }

  /** Counts what passes will take. */
  public MemoryCounts memory() {
    return memory;
  }

  /** Returns what stands before the prompts of all passes that bring no prefix of their own. */
  public Optional<PrefixCache> prefix() {
    return handle.prefix();
  }

  /**
   * Keys and values of tokens {@code [1 or batch, prefix]}, behind the prefix of all passes.
   *
   * @param tokens makes them on a device, in the innermost scope
   */
  public PrefixCache prefixOf(Function<String, Tensor> tokens) {
    try (CallScope scope = new CallScope()) {
      PassHandle.hold(scope, handle::use);
      return PrefixPass.of(this, scope, arguments.graph().config(), tokens.apply(device));
    }
  }

  public ForwardResult forward(ForwardRequest request, PatchContext context) {
    try (CallScope scope = new CallScope()) {
      List<Tensor> results = run(scope, request, context);
      ForwardResult result = result(request, results);
      scope.handOutAll(results);
      return result;
    }
  }

  /** Logits of the last position, without a record for backward. */
  public float[][] logits(long[][] tokens, PatchContext context) {
    ForwardRequest request =
        ForwardRequest.of(tokens).withGrad(false).withOutputSlice(OutputSlice.LAST_SEQ);
    try (CallScope scope = new CallScope()) {
      return TensorArrays.rows(run(scope, request, context).get(0));
    }
  }

  /** Logits, source outputs if wanted, and the hook points read, all of the scope. */
  List<Tensor> run(CallScope scope, ForwardRequest request, PatchContext context) {
    ForwardEvent event = ForwardEvent.begun();
    PassHandle.hold(scope, handle::use);
    PassHandle.hold(scope, context::use);
    ModelInput input = handle.behindPrefix(scope, request.input(device));
    OptionalInt start = request.startBlock();
    Size size =
        start.isPresent() ? arguments.residual(start.getAsInt(), input) : arguments.input(input);
    arguments.reads(request.reads(), start);
    arguments.added(request.added(), size, start);
    Tensor startSrcOuts = null;
    if (start.isPresent()) {
      startSrcOuts = startSourceOutputs(request, context, start.getAsInt(), size);
    } else {
      requireNoStart(request.startSourceOutputs().isPresent(), context);
    }
    Patch patch = arguments.patch(scope, context, size, false);
    boolean grad =
        request
            .grad()
            .orElse(
                requiresGrad(input.value())
                    || requiresGrad(startSrcOuts)
                    || requiresGrad(patch.patchSrcOuts())
                    || requiresGrad(patch.masks()));
    TensorVector results;
    try {
      results =
          NativeLibrary.forward(
              handle.address(),
              PassHandle.tensors(input),
              start.orElse(-1),
              Patch.orUndefined(startSrcOuts),
              NativeCodes.of(request.outputSlice().orElse(defaultSlice)),
              grad,
              request.wantsSourceOutputs(),
              context.isPatched(),
              Patch.orUndefined(patch.patchSrcOuts()),
              patch.fullyPatched(),
              Patch.orUndefined(patch.masks()),
              patch.plans(),
              patch.maskFn(),
              patch.dropout(),
              patch.seed(),
              patch.step(),
              Patch.orUndefined(patch.uniforms()),
              String.join("\n", request.reads()),
              NativeCodes.of(request.planPolicy()),
              String.join("\n", request.added().keySet()),
              PassHandle.tensors(request.added().values()));
    } catch (NativeException e) {
      throw handle.explained(e, List.of(input));
    }
    WorkspaceEvent.ifGrown(NativeMath::workspaceBytes);
    event.end(
        name, size.batch(), size.seq(), context.isPatched(), grad, request.wantsSourceOutputs());
    return ModelHandle.tensors(results);
  }

  public IncrementalRun incrementalRun(ModelInput given, PatchContext context, OutputSlice slice) {
    ForwardEvent event = ForwardEvent.begun();
    try (CallScope scope = new CallScope()) {
      PassHandle.hold(scope, handle::use);
      PassHandle.hold(scope, context::use);
      requireForSearch(context);
      ModelInput input = handle.behindPrefix(scope, given);
      Size size = arguments.input(input);
      Patch patch = arguments.patch(scope, context, size, false);
      long run;
      try {
        run =
            NativeLibrary.newIncrementalRun(
                handle.address(),
                PassHandle.tensors(input),
                NativeCodes.of(slice),
                patch.patchSrcOuts(),
                patch.fullyPatched(),
                patch.masks());
      } catch (NativeException e) {
        throw handle.explained(e, List.of(input));
      }
      WorkspaceEvent.ifGrown(NativeMath::workspaceBytes);
      event.end(name, size.batch(), size.seq(), true, false, false);
      return RUNS.make(
          name, arguments.graph(), size.batch(), size.seq(), new IncrementalHandle(run));
    }
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

  private static void requireForSearch(PatchContext context) {
    if (!context.isPatched()
        || context.maskFn() != MaskFn.NONE
        || context.dropout() > 0
        || context.masks().filter(masks -> masks.examples().isPresent()).isPresent()) {
      throw new IllegalArgumentException(
          "context: expected one that patches, without mask function or dropout and with masks "
              + "that all examples share, got "
              + context);
    }
    requireNoStart(false, context);
  }

  /** Refuses what a pass from the tokens would ignore. */
  static void requireNoStart(boolean given, PatchContext context) {
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
            .or(() -> context.startSourceOutputs().map(ACTIVATIONS::tensor))
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
