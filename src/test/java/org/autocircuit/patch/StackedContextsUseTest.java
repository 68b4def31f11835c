package org.autocircuit.patch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.autocircuit.Close.assertClose;
import static org.autocircuit.RandomModels.SMALL;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.autocircuit.NativeScope;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.RandomModels;
import org.autocircuit.TestDevice;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.graph.DestModule;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ForwardResult;
import org.autocircuit.pass.ModelInput;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;

/** Tests what a stack copies, who closes it, and what else than logits can be had of it. */
@ExtendWith(NativeScope.class)
class StackedContextsUseTest {

  private static final int SEQ = 4;

  private final PatchableModel model =
      RandomModels.patchable(SMALL, Precision.FLOAT64, PatchableModelOptions.defaults(), 5);
  private final long[][] prompts = RandomModels.prompts(SMALL, 2, SEQ, 1);
  private final long[][] corrupt = RandomModels.prompts(SMALL, 2, SEQ, 2);
  private final SourceActivations each = model.sourceAblations(corrupt, BatchAblation.RESAMPLE);
  private final SourceActivations one = SourceActivations.of(each.tensor().narrow(1, 0, 1));

  private final List<SourceActivations> made = new ArrayList<>();

  @AfterEach
  void close() {
    made.forEach(SourceActivations::close);
    each.close();
    one.close();
    model.close();
  }

  private Masks masks(long seed) {
    return Masks.of(model.graph(), RandomModels.masks(model.graph(), seed));
  }

  private static SourceActivations activations(StackedContexts stack) {
    return stack.context().activations().orElseThrow();
  }

  private ModelInput input(int row) {
    return ModelInput.ofPrompts(new long[][] {prompts[row]}, TestDevice.NAME);
  }

  @Test
  void sharedPartsAreNotCopied() {
    Masks masks = masks(1);
    PatchContext context = PatchContext.of(one, masks);
    try (StackedContexts stack = PatchContext.stack(List.of(context, context), 1, 2)) {
      assertThat(stack.batch()).isEqualTo(3);
      assertThat(activations(stack)).isSameAs(one);
      assertThat(stack.context().masks()).containsSame(masks);
    }
    try (StackedContexts stack =
        PatchContext.stack(
            List.of(context, PatchContext.NONE, PatchContext.of(one, masks(2))), 1, 1, 1)) {
      assertThat(activations(stack)).isSameAs(one);
      assertThat(stack.context().masks().orElseThrow().examples()).hasValue(3);
    }
    try (StackedContexts stack = PatchContext.stack(List.of(PatchContext.of(each, masks)), 2)) {
      assertThat(activations(stack)).isSameAs(each);
      assertThat(stack.context().masks()).containsSame(masks);
    }
    assertThat(one.isClosed()).isFalse();
    assertThat(each.isClosed()).isFalse();
  }

  @Test
  void whereNothingIsPatchedNothingIsMade() {
    List<PatchContext> plain = List.of(PatchContext.NONE, PatchContext.NONE);
    try (StackedContexts stack = PatchContext.stack(plain)) {
      assertThat(stack.context().isPatched()).isFalse();
      float[][] logits = model.logits(prompts, stack.context());
      assertThat(logits).isDeepEqualTo(model.logits(prompts, PatchContext.NONE));
      List<float[][]> parts = stack.split(logits);
      assertThat(parts).hasSize(2);
      assertThat(parts.get(1)[0]).isSameAs(logits[1]);
    }
  }

  @Test
  void closingClosesTheCopiesAndNothingElse() {
    StackedContexts stack =
        PatchContext.stack(
            List.of(PatchContext.of(one, masks(1)), PatchContext.of(each, masks(2))), 1, 2);
    PatchContext context = stack.context();
    SourceActivations copy = activations(stack);
    assertThat(copy.tensor().size(1)).isEqualTo(3);
    stack.close();
    stack.close();
    assertThat(stack.isClosed()).isTrue();
    assertThat(copy.isClosed()).isTrue();
    assertThat(one.isClosed()).isFalse();
    assertThat(each.isClosed()).isFalse();
    assertThatIllegalStateException()
        .isThrownBy(stack::context)
        .withMessage("StackedContexts is closed");
    long[][] three = {prompts[0], prompts[0], prompts[1]};
    assertThatIllegalStateException()
        .isThrownBy(() -> model.logits(three, context))
        .withMessage("SourceActivations is closed");
  }

  /** JavaCPP counts only with its collector on. */
  @Test
  @Tag("collector")
  void nothingNativeIsLeft() {
    long before = Pointer.totalCount();
    for (int round = 0; round < 3; round++) {
      stackAndSplit();
      failHalfway();
    }
    assertThat(Pointer.totalCount()).isEqualTo(before).isPositive();
  }

  private void stackAndSplit() {
    List<PatchContext> contexts =
        List.of(PatchContext.of(one, masks(1)), PatchContext.NONE, PatchContext.of(each, masks(2)));
    long[][] four = {prompts[0], prompts[1], prompts[0], prompts[1]};
    try (PointerScope scope = new PointerScope();
        StackedContexts stack = PatchContext.stack(contexts, 1, 1, 2)) {
      ForwardRequest request = ForwardRequest.of(ModelInput.ofPrompts(four, TestDevice.NAME));
      assertThat(stack.split(model.forward(request.withContext(stack.context())).logits()))
          .hasSize(3);
    }
  }

  /** The activations fit and are copied; the source outputs before the block do not. */
  private void failHalfway() {
    try (PointerScope scope = new PointerScope();
        SourceActivations narrow = SourceActivations.of(each.tensor().narrow(3, 0, 2))) {
      PatchContext.Builder builder = PatchContext.of(each, masks(1)).toBuilder();
      List<PatchContext> contexts =
          List.of(
              builder.startSourceOutputs(each).build(), builder.startSourceOutputs(narrow).build());
      assertThatIllegalArgumentException()
          .isThrownBy(() -> PatchContext.stack(contexts, 2, 2).close())
          .withMessageContaining("start source outputs of context 1");
    }
  }

  @Test
  void valuesOfParametersAreThoseOfTheTimeOfStacking() {
    try (MaskParameters parameters = model.newMaskParameters()) {
      parameters.set(masks(1));
      PatchContext context = PatchContext.of(one, parameters);
      try (StackedContexts stack = PatchContext.stack(List.of(context, context))) {
        parameters.setAll(0.5);
        assertThat(stack.context().masks().orElseThrow().examples()).isEmpty();
        assertThat(stack.context().masks().orElseThrow().toArray()).isEqualTo(masks(1).toArray());
      }
    }
  }

  /** The loss is a mean over prompts, so each gradient is a part of that of a pass of its own. */
  @Test
  void gradientsOfSeveralCircuitsInOnePass() {
    List<PatchContext> contexts =
        List.of(PatchContext.of(one, masks(1)), PatchContext.of(row(1), masks(2)));
    try (StackedContexts stack = PatchContext.stack(contexts)) {
      ModelInput both = ModelInput.ofPrompts(prompts, TestDevice.NAME);
      AnswerLoss loss = loss(new long[][] {{3}, {4}}, new long[][] {{5}, {6}});
      List<Tensor> parts = stack.split(model.maskGradient(both, stack.context(), loss).gradient());
      for (int i = 0; i < 2; i++) {
        AnswerLoss alone = loss(new long[][] {{3 + i}}, new long[][] {{5 + i}});
        Tensor expected = model.maskGradient(input(i), contexts.get(i), alone).gradient();
        assertClose(
            "gradient " + i,
            Arrays.stream(TensorArrays.doubles(parts.get(i))).map(g -> 2 * g).toArray(),
            TensorArrays.doubles(expected),
            1e-10);
      }
    }
  }

  private static AnswerLoss loss(long[][] answers, long[][] wrong) {
    return AnswerLoss.of(GradFunction.LOGPROB, AnswerFunction.AVG_DIFF, answers, wrong);
  }

  private SourceActivations row(int row) {
    try (SourceActivations whole = model.sourceAblations(corrupt, BatchAblation.RESAMPLE)) {
      SourceActivations activations = SourceActivations.of(whole.tensor().narrow(1, row, 1));
      made.add(activations);
      return activations;
    }
  }

  @Test
  void activationsOfOnesOwnGetTheirGradients() {
    Tensor stacked = one.tensor().clone().detach().set_requires_grad(true);
    Tensor alone = one.tensor().clone().detach().set_requires_grad(true);
    Masks masks = masks(1);
    try (SourceActivations first = SourceActivations.of(stacked);
        SourceActivations second = SourceActivations.of(alone)) {
      Tensor logits;
      try (StackedContexts stack =
          PatchContext.stack(
              List.of(
                  PatchContext.NONE,
                  PatchContext.of(first, masks),
                  PatchContext.of(each, masks(2))),
              1,
              1,
              2)) {
        ModelInput input =
            ModelInput.ofPrompts(
                new long[][] {prompts[0], prompts[1], prompts[0], prompts[1]}, TestDevice.NAME);
        Tensor all = model.forward(ForwardRequest.of(input).withContext(stack.context())).logits();
        logits = stack.split(all).get(1);
      }
      // The copy is closed, and the pass still goes backward.
      logits.square().sum().backward();
      ForwardRequest request =
          ForwardRequest.of(input(1)).withContext(PatchContext.of(second, masks));
      model.forward(request).logits().square().sum().backward();
      assertClose("gradient", stacked.grad(), alone.grad(), 1e-10);
    }
  }

  @Test
  void hookPointsThatAreReadAreTakenApartToo() {
    String hook = "blocks.1.hook_resid_pre";
    List<PatchContext> contexts = List.of(PatchContext.of(one, masks(1)), PatchContext.NONE);
    try (StackedContexts stack = PatchContext.stack(contexts)) {
      ForwardRequest both = ForwardRequest.of(ModelInput.ofPrompts(prompts, TestDevice.NAME));
      ForwardResult result =
          model.forward(both.withContext(stack.context()).withReads(hook).withSourceOutputs());
      List<Tensor> reads = stack.split(result.read(hook));
      for (int i = 0; i < 2; i++) {
        ForwardRequest alone = ForwardRequest.of(input(i)).withContext(contexts.get(i));
        ForwardResult expected = model.forward(alone.withReads(hook).withSourceOutputs());
        assertClose(hook, reads.get(i), expected.read(hook), 1e-12);
        assertClose(
            "source outputs",
            result.sourceOutputs().orElseThrow().narrow(1, i, 1),
            expected.sourceOutputs().orElseThrow(),
            1e-12);
      }
    }
  }

  @Test
  void passesThatBeginAtABlock() {
    String entry = "blocks.1.hook_resid_pre";
    List<PatchContext> contexts = new ArrayList<>();
    List<Tensor> expected = new ArrayList<>();
    List<Tensor> entries = new ArrayList<>();
    for (int i = 0; i < 2; i++) {
      double[] values = RandomModels.masks(model.graph(), i);
      for (DestModule module : model.graph().destModules()) {
        if (module.moduleName().startsWith("blocks.0.")) {
          Arrays.fill(values, module.offset(), module.end(), 0);
        }
      }
      ForwardResult clean =
          model.forward(
              ForwardRequest.of(input(i))
                  .withContext(PatchContext.NONE)
                  .withSourceOutputs()
                  .withReads(entry));
      SourceActivations start = SourceActivations.of(clean.sourceOutputs().orElseThrow());
      made.add(start);
      PatchContext context =
          i == 0 ? PatchContext.NONE : PatchContext.of(one, Masks.of(model.graph(), values));
      contexts.add(context.toBuilder().startSourceOutputs(start).build());
      expected.add(model.forward(input(i).value(), context));
      entries.add(clean.read(entry));
    }
    Tensor streams = torch.cat(new TensorVector(entries.get(0), entries.get(1)), 0);
    try (StackedContexts stack = PatchContext.stack(contexts)) {
      ForwardRequest late = ForwardRequest.startingAt(1, streams).withContext(stack.context());
      List<Tensor> parts = stack.split(model.forward(late).logits());
      for (int i = 0; i < 2; i++) {
        assertClose("logits " + i, parts.get(i), expected.get(i), 1e-12);
      }
    }
  }

  @Test
  void threadsShareAStack() throws Exception {
    List<PatchContext> contexts =
        List.of(PatchContext.of(one, masks(1)), PatchContext.of(row(1), masks(2)));
    ExecutorService threads = Executors.newFixedThreadPool(4);
    try (StackedContexts stack = PatchContext.stack(contexts)) {
      float[][] expected = model.logits(prompts, stack.context());
      Callable<float[][]> pass = () -> model.logits(prompts, stack.context());
      for (Future<float[][]> logits : threads.invokeAll(Collections.nCopies(32, pass))) {
        assertThat(logits.get()).isDeepEqualTo(expected);
      }
    } finally {
      threads.shutdown();
    }
  }
}
