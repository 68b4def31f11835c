package org.autocircuit.internal.run;

import java.util.ArrayList;
import java.util.List;
import java.util.OptionalInt;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.BackwardRules;
import org.autocircuit.attribution.EdgeAttribution;
import org.autocircuit.attribution.MaskGradientResult;
import org.autocircuit.attribution.PointAttribution;
import org.autocircuit.exception.NativeException;
import org.autocircuit.graph.SrcModule;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.ModelHandle;
import org.autocircuit.internal.NativeCodes;
import org.autocircuit.internal.NativeMath;
import org.autocircuit.internal.Patch;
import org.autocircuit.internal.jfr.ForwardEvent;
import org.autocircuit.internal.jfr.GradientEvent;
import org.autocircuit.internal.jfr.WorkspaceEvent;
import org.autocircuit.internal.jni.NativeLibrary;
import org.autocircuit.internal.run.PassArguments.Size;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.patch.PatchContext;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;

/** Passes forward and backward in one native call: the gradient of a loss for the masks. */
public final class GradientPasses {

  private final String name;
  private final long vocabulary;
  private final String device;
  private final PassArguments arguments;
  private final PassHandle handle;

  GradientPasses(
      String name, long vocabulary, String device, PassArguments arguments, PassHandle handle) {
    this.name = name;
    this.vocabulary = vocabulary;
    this.device = device;
    this.arguments = arguments;
    this.handle = handle;
  }

  /** The gradient for the masks of a context; of the request only the prompts count. */
  public MaskGradientResult of(ForwardRequest prompts, PatchContext context, AnswerLoss loss) {
    GradientEvent event = GradientEvent.begun();
    try (CallScope scope = new CallScope()) {
      PassHandle.hold(scope, handle::use);
      PassHandle.hold(scope, context::use);
      if (!context.isPatched()) {
        throw new IllegalArgumentException("context: expected one that patches, got " + context);
      }
      Passes.requireNoStart(false, context);
      ModelInput input = handle.behindPrefix(scope, prompts.input(device));
      Size size = arguments.input(input);
      Patch patch = arguments.patch(scope, context, size, true);
      AnswerTokens answers = new AnswerTokens(loss, size.batch(), vocabulary, arguments, device);
      TensorVector results;
      try {
        results =
            NativeLibrary.maskGradient(
                handle.address(),
                PassHandle.tensors(input),
                patch.patchSrcOuts(),
                patch.masks(),
                patch.maskFn(),
                patch.dropout(),
                patch.seed(),
                patch.step(),
                Patch.orUndefined(patch.uniforms()),
                NativeCodes.of(loss.gradFunction()),
                NativeCodes.of(loss.answerFunction()),
                answers.answers(),
                Patch.orUndefined(answers.wrongAnswers()));
      } catch (NativeException e) {
        throw handle.explained(e, List.of(input));
      }
      return handedOut(scope, event, size, results);
    }
  }

  /** The gradient for masks that all have one value, within a limit of memory. */
  public MaskGradientResult of(EdgeAttribution attribution) {
    GradientEvent event = GradientEvent.begun();
    try (CallScope scope = new CallScope()) {
      PassHandle.hold(scope, handle::use);
      List<ModelInput> inputs = new ArrayList<>();
      inputs.add(handle.behindPrefix(scope, attribution.clean()));
      attribution.corrupt().ifPresent(corrupt -> inputs.add(handle.behindPrefix(scope, corrupt)));
      attribution.activations().ifPresent(given -> PassHandle.hold(scope, given::use));
      Size size = arguments.input(inputs.get(0));
      if (inputs.size() > 1) {
        arguments.corrupt(inputs.get(1), size);
      }
      Tensor activations =
          attribution.activations().map(given -> arguments.activations(given, size)).orElse(null);
      AnswerLoss loss = attribution.loss();
      AnswerTokens answers = new AnswerTokens(loss, size.batch(), vocabulary, arguments, device);
      BackwardRules rules = attribution.rules();
      TensorVector results;
      try {
        results =
            NativeLibrary.edgeAttribution(
                handle.address(),
                PassHandle.tensors(inputs.get(0)),
                inputs.size() > 1 ? PassHandle.tensors(inputs.get(1)) : new TensorVector(),
                Patch.orUndefined(activations),
                attribution.maskValue(),
                NativeCodes.of(loss.gradFunction()),
                NativeCodes.of(loss.answerFunction()),
                answers.answers(),
                Patch.orUndefined(answers.wrongAnswers()),
                attribution.memoryLimit(),
                attribution.perPrompt(),
                rules.frozenNorms(),
                rules.softmaxTemperature(),
                rules.queriesAndKeys(),
                rules.values(),
                rules.gatedMlps(),
                attribution.differences());
      } catch (NativeException e) {
        throw handle.explained(e, inputs);
      }
      return handedOut(scope, event, size, results);
    }
  }

  /** The gradient for masks of 0 at a point and for differences of the caller's choice. */
  public MaskGradientResult of(PointAttribution attribution) {
    GradientEvent event = GradientEvent.begun();
    try (CallScope scope = new CallScope()) {
      PassHandle.hold(scope, handle::use);
      ModelInput input = handle.behindPrefix(scope, attribution.input());
      OptionalInt start = attribution.startBlock();
      Size size =
          start.isPresent() ? arguments.residual(start.getAsInt(), input) : arguments.input(input);
      Tensor differences = arguments.sources("differences", attribution.differences(), size);
      arguments.addedAtPoints(attribution.added(), size, start);
      SrcModule sources = arguments.sources(attribution.sources());
      AnswerLoss loss = attribution.loss();
      AnswerTokens answers = new AnswerTokens(loss, size.batch(), vocabulary, arguments, device);
      TensorVector results;
      try {
        results =
            NativeLibrary.pointGradient(
                handle.address(),
                PassHandle.tensors(input),
                start.orElse(-1),
                differences,
                sources.srcStart(),
                sources.srcStop(),
                String.join("\n", attribution.added().keySet()),
                PassHandle.tensors(attribution.added().values()),
                NativeCodes.of(loss.gradFunction()),
                NativeCodes.of(loss.answerFunction()),
                answers.answers(),
                Patch.orUndefined(answers.wrongAnswers()),
                attribution.perPrompt());
      } catch (NativeException e) {
        throw handle.explained(e, List.of(input));
      }
      return handedOut(scope, event, size, results);
    }
  }

  /**
   * Sources, each by itself patched into the queries or the keys of all heads of a block.
   *
   * @param stream its value is the residual stream {@code [batch, seq, d_model]} that enters the
   *     block
   * @param differences patched minus clean outputs of some sources before it {@code [n, batch, seq,
   *     d_model]}
   * @param ofKeys whether keys are patched, or queries
   * @param position the only one that is patched; empty: all are
   * @param pattern the clean one {@code [batch, heads, seq, keys]}
   * @param gradient of a loss in the pattern
   * @return the change of each query's row of the pattern, times the gradient, {@code [n, batch,
   *     heads, seq]}, fp64
   */
  public Tensor patternEffects(
      int block,
      ModelInput stream,
      Tensor differences,
      boolean ofKeys,
      OptionalInt position,
      Tensor pattern,
      Tensor gradient) {
    ForwardEvent event = ForwardEvent.begun();
    try (CallScope scope = new CallScope()) {
      PassHandle.hold(scope, handle::use);
      ModelInput input = handle.behindPrefix(scope, stream);
      Size size = arguments.residual(block, input);
      Tensor effects;
      try {
        effects =
            NativeLibrary.patternEffects(
                handle.address(),
                PassHandle.tensors(input),
                block,
                differences,
                ofKeys,
                position.orElse(-1),
                pattern,
                gradient);
      } catch (NativeException e) {
        throw handle.explained(e, List.of(input));
      }
      WorkspaceEvent.ifGrown(NativeMath::workspaceBytes);
      event.end(name, size.batch(), size.seq(), true, false, false);
      return scope.handOut(effects);
    }
  }

  private MaskGradientResult handedOut(
      CallScope scope, GradientEvent event, Size size, TensorVector results) {
    WorkspaceEvent.ifGrown(NativeMath::workspaceBytes);
    event.end(name, size.batch(), size.seq());
    List<Tensor> tensors = scope.handOutAll(ModelHandle.tensors(results));
    return new MaskGradientResult(
        tensors.get(0), tensors.get(1), tensors.get(2), tensors.size() > 3 ? tensors.get(3) : null);
  }
}
