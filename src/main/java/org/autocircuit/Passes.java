package org.autocircuit;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import org.autocircuit.PassArguments.Size;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.graph.WrapperSpec;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.NativeResource;
import org.autocircuit.internal.PatchableHandle;
import org.autocircuit.internal.PatchableHandle.Patch;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.patch.AblationType;
import org.autocircuit.patch.MaskValues;
import org.autocircuit.patch.OutputSlice;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.pytorch.Tensor;

/** The native passes of a patchable model, arguments checked, results handed out. */
final class Passes {

  private final List<String> hookNames;
  private final PassArguments arguments;
  private final OutputSlice defaultSlice;
  private final Precision precision;
  private final String device;
  private final long vocabulary;
  private final PatchableHandle handle;

  Passes(String name, Model model, ModelGraph graph, OutputSlice slice) {
    hookNames = model.hookNames();
    arguments =
        new PassArguments(graph, model.precision(), model.device(), new LinkedHashSet<>(hookNames));
    defaultSlice = slice;
    precision = model.precision();
    device = model.device();
    vocabulary = AnswerTokens.vocabulary(model.config());
    WrapperSpec.Packed wrappers = WrapperSpec.pack(graph.wrapperSpecs());
    handle =
        model
            .handle()
            .makePatchable(name, wrappers.modules(), wrappers.numbers(), graph.seqLen().orElse(0));
  }

  List<String> hookNames() {
    return hookNames;
  }

  ForwardResult forward(ForwardRequest request, PatchContext context) {
    try (NativeResource.Use use = handle.use();
        CallScope scope = new CallScope()) {
      Tensor input = request.input();
      int block = request.startBlock().orElse(0);
      Size size = block == 0 ? arguments.input(input) : arguments.residual(block, input);
      arguments.reads(request.reads(), block);
      Tensor startSrcOuts =
          request
              .startSourceOutputs()
              .or(() -> context.startSourceOutputs().map(SourceActivations::tensor))
              .orElse(null);
      if (block == 0) {
        startSrcOuts = null;
      } else if (startSrcOuts != null) {
        startSrcOuts = arguments.sources("start source outputs", startSrcOuts, size);
      } else if (context.isPatched() || request.wantsSourceOutputs()) {
        throw new IllegalArgumentException(
            "start source outputs: expected the outputs of the sources before block "
                + block
                + ", got none");
      }
      Patch patch = arguments.patch(context, size, false);
      boolean grad =
          request
              .grad()
              .orElse(
                  requiresGrad(input)
                      || requiresGrad(startSrcOuts)
                      || requiresGrad(patch.patchSrcOuts())
                      || requiresGrad(patch.masks()));
      List<Tensor> results =
          handle.forward(
              input,
              block,
              startSrcOuts,
              NativeCodes.of(request.outputSlice().orElse(defaultSlice)),
              grad,
              request.wantsSourceOutputs(),
              context.isPatched(),
              patch,
              request.reads());
      results.forEach(scope::handOut);
      return result(request, results);
    }
  }

  float[][] logits(long[][] tokens, PatchContext context) {
    try (NativeResource.Use use = handle.use();
        CallScope scope = new CallScope()) {
      ForwardRequest request =
          ForwardRequest.of(TensorArrays.of(tokens, "tokens", device))
              .withGrad(false)
              .withOutputSlice(OutputSlice.LAST_SEQ);
      return TensorArrays.rows(forward(request, context).logits());
    }
  }

  SourceActivations sourceAblations(Tensor input, AblationType type) {
    if (type.meanOverDataset()) {
      throw new IllegalArgumentException(
          type + " is a mean over a data set: expected batches of prompt pairs, got one tensor");
    }
    try (NativeResource.Use use = handle.use();
        CallScope scope = new CallScope()) {
      return SourceActivations.of(ablated(input, type), Optional.of(type));
    }
  }

  SourceActivations sourceAblations(long[][] tokens, AblationType type) {
    try (CallScope scope = new CallScope()) {
      return sourceAblations(TensorArrays.of(tokens, "tokens", device), type);
    }
  }

  SourceActivations sourceAblations(
      Iterable<? extends PromptPairBatch> batches, AblationType type) {
    return mean(
        type,
        mean -> {
          for (PromptPairBatch batch : batches) {
            if (type.cleanDataset()) {
              add(mean, batch.clean());
            }
            if (type.corruptDataset()) {
              add(mean, batch.corrupt());
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
            clean.forEach(input -> add(mean, input));
          }
          if (type.corruptDataset()) {
            corrupt.forEach(input -> add(mean, input));
          }
        });
  }

  MaskGradientResult maskGradient(Tensor input, PatchContext context, AnswerLoss loss) {
    try (NativeResource.Use use = handle.use();
        CallScope scope = new CallScope()) {
      if (!context.isPatched()) {
        throw new IllegalArgumentException("context: expected one that patches, got " + context);
      }
      Size size = arguments.input(input);
      Patch patch = arguments.patch(context, size, true);
      AnswerTokens answers = new AnswerTokens(loss, size.batch(), vocabulary, arguments, device);
      List<Tensor> results =
          handle.maskGradient(
              input,
              patch,
              NativeCodes.of(loss.gradFunction()),
              NativeCodes.of(loss.answerFunction()),
              answers.answers(),
              answers.wrongAnswers());
      results.forEach(scope::handOut);
      return new MaskGradientResult(results.get(0), results.get(1), results.get(2));
    }
  }

  MaskGradientResult maskGradient(long[][] tokens, PatchContext context, AnswerLoss loss) {
    try (CallScope scope = new CallScope()) {
      MaskGradientResult result =
          maskGradient(TensorArrays.of(tokens, "tokens", device), context, loss);
      scope.handOut(result.gradient());
      scope.handOut(result.loss());
      scope.handOut(result.logits());
      return result;
    }
  }

  /** Checks what of a patch does not depend on the pass. */
  void check(SourceActivations activations, MaskValues masks) {
    arguments.check(activations, masks);
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
    try (NativeResource.Use use = handle.use();
        CallScope scope = new CallScope();
        DataSetMean mean = new DataSetMean(precision)) {
      addAll.accept(mean);
      return SourceActivations.of(mean.mean(), Optional.of(type));
    }
  }

  private void add(DataSetMean mean, long[][] tokens) {
    try (CallScope scope = new CallScope()) {
      add(mean, TensorArrays.of(tokens, "tokens", device));
    }
  }

  private void add(DataSetMean mean, Tensor input) {
    try (CallScope scope = new CallScope()) {
      mean.add(ablated(input, AblationType.RESAMPLE));
    }
  }

  private Tensor ablated(Tensor input, AblationType type) {
    arguments.input(input);
    return handle.sourceAblations(input, NativeCodes.of(type));
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
