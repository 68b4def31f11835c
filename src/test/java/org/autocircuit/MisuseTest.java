package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assumptions.assumeThat;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.autocircuit.AnswerLoss.AnswerFunction;
import org.autocircuit.AnswerLoss.GradFunction;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.Precision;
import org.autocircuit.patch.AblationType;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/** Every misuse is an exception that says what was expected and what came, and changes nothing. */
@SuppressWarnings("MustBeClosedChecker") // Nothing is opened.
class MisuseTest {

  private static final PatchableModelOptions OPTIONS = PatchableModelOptions.defaults();

  private final PointerScope scope = new PointerScope();
  private final PatchableModel model = TestModels.patchable();
  private final ModelGraph graph = model.graph();
  private final Tensor tokens = TestModels.tokenTensor(2, 5, 1);
  private final SourceActivations patch = model.sourceAblations(tokens, AblationType.RESAMPLE);
  private final List<DynamicTest> tests = new ArrayList<>();

  @AfterEach
  void close() {
    patch.close();
    model.close();
    scope.close();
  }

  @TestFactory
  Stream<DynamicTest> argumentsAreRefused() {
    input();
    activations();
    masks();
    requests();
    losses();
    return tests.stream();
  }

  private void input() {
    refused("null tokens", () -> model.forward((Tensor) null), "tokens", "null");
    refused("undefined tokens", () -> model.forward(new Tensor()), "tokens", "undefined");
    refused(
        "one dimension",
        () -> model.forward(tokens.select(0, 0)),
        "tokens: expected shape [batch, seq]",
        "got [5]");
    refused(
        "float tokens",
        () -> model.forward(torch.ones(2, 5)),
        "tokens: expected dtype Long",
        "got Float");
    refused(
        "tokens on another device",
        () -> model.forward(tokens.to(new Device("meta"), ScalarType.Long)),
        "tokens: expected device cpu",
        "got meta");
    refused(
        "too long", () -> model.forward(TestModels.tokenTensor(1, 13, 1)), "at most 12", "got 13");
    refused(
        "no prompts",
        () -> model.forward(torch.zeros(0, 5).to(ScalarType.Long)),
        "at least one prompt",
        "got 0");
    refused(
        "token too great",
        () -> model.logits(new long[][] {{1, 2}, {3, 31}}),
        "expected 0 to 30",
        "got 31 in row 1 at position 1");
    refused("negative token", () -> model.logits(new long[][] {{-1}}), "got -1 in row 0");
    refused(
        "an empty row",
        () -> model.logits(new long[][] {{1, 2}, {}}),
        "at least one in each row, got none in row 1");
    refused(
        "ragged rows of a prefix",
        () -> PrefixCache.of(model, new long[][] {{1, 2}, {3}}).close(),
        "rows of 2 values, got 1 in row 1");
    refused("no rows", () -> model.logits(new long[0][]), "at least one row");
  }

  private void activations() {
    Tensor sources = patch.tensor();
    refused(
        "activations of three dimensions",
        () -> SourceActivations.of(sources.select(0, 0)),
        "[n_srcs, batch, seq, d_model]",
        "got [2, 5, 16]");
    refusedActivations(
        "too few sources", sources.narrow(0, 0, 3), "expected", "[11, 2, 5, 16]", "[3, 2, 5, 16]");
    refusedActivations(
        "another length", sources.narrow(2, 0, 4), "[11, 2, 5, 16]", "[11, 2, 4, 16]");
    refusedActivations(
        "another batch", torch.zeros(11, 3, 5, 16), "[11, 2, 5, 16]", "[11, 3, 5, 16]");
    refusedActivations(
        "another precision", sources.to(ScalarType.Double), "expected dtype Float", "got Double");
    refusedActivations(
        "another device", sources.to(new Device("meta"), ScalarType.Float), "cpu", "meta");
    refused(
        "a data-set mean of one tensor",
        () -> model.sourceAblations(tokens, AblationType.TOKENWISE_MEAN_CLEAN),
        "TOKENWISE_MEAN_CLEAN",
        "batches");
    refused(
        "a batch ablation of a data set",
        () -> model.sourceAblations(List.of(TestModels.batch(1, 3, 1)), AblationType.RESAMPLE),
        "RESAMPLE",
        "one tensor");
    refused(
        "an empty data set",
        () -> model.sourceAblations(List.of(), AblationType.TOKENWISE_MEAN_CLEAN),
        "at least one");
    refused(
        "a data set of two lengths",
        () ->
            model.sourceAblations(
                List.of(TestModels.batch(1, 3, 1), TestModels.batch(1, 4, 1)),
                AblationType.TOKENWISE_MEAN_CLEAN),
        "3 tokens",
        "got 4");
  }

  private void masks() {
    refused("too few masks", () -> Masks.of(graph, new float[3]), "" + graph.maskSize(), "got 3");
    refused("no examples", () -> Masks.perExample(graph, new double[0][]), "at least one");
    refused(
        "masks of three examples",
        () ->
            model.forward(
                tokens,
                PatchContext.of(patch, Masks.perExample(graph, new double[3][graph.maskSize()]))),
        "2 examples",
        "of 3");
    ModelGraph other = ModelGraph.of(TestModels.CONFIG, false, false);
    refused(
        "masks of another graph",
        () -> model.forward(tokens, PatchContext.of(patch, Masks.uniform(other, 0))),
        "masks: expected those of a factorised graph",
        "got those of a residual graph");
    refused(
        "default masks from another graph",
        () -> model.masks().set(Masks.uniform(other, 0)),
        "factorised",
        "residual");
    refused(
        "an unknown edge",
        () -> model.patchModeByName(patch, List.of("A0.1->MLP 7")),
        "A0.1->MLP",
        "did you mean");
    refused("an unknown mask", () -> model.masks().set("A0.1->MLP 9", 1), "did you mean");
    refused(
        "an edge of another model",
        () -> model.patchMode(patch, ModelGraph.of(TestModels.MICRO, true, false).edges()),
        "B0.0");
    refused("an unknown module", () -> model.masks().module("blocks.0.hook_mpl_in"), "hook_mlp_in");
    refused("a tensor of another size", () -> model.masks().set(torch.zeros(4)), "got [4]");
    refused("dropout of 1", () -> model.maskFnMode(MaskFn.NONE, 1), "[0, 1)", "got 1.0");
    refused(
        "uniforms of another shape",
        () ->
            model.forward(
                tokens,
                PatchContext.builder(patch, model.masks())
                    .maskFn(MaskFn.HARD_CONCRETE)
                    .noise(Noise.uniforms(torch.rand(2, 3)))
                    .build()),
        "uniforms: expected shape [batch, n_masks]",
        "got [2, 3]");
    tests.add(
        dynamicTest(
            "a length that the graph has not",
            () -> {
              try (PatchableModel positions =
                      TestModels.patchable(Precision.FLOAT32, OPTIONS.withSeqLen(6));
                  PointerScope inner = new PointerScope()) {
                assertThatThrownBy(() -> positions.forward(tokens, contextOf(positions)))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("expected 6 positions")
                    .hasMessageContaining("got 5");
              }
            }));
  }

  private void requests() {
    ForwardRequest request = ForwardRequest.of(tokens);
    refused(
        "an unknown hook point",
        () -> model.forward(request.withReads("blocks.0.hook_mlp_outt")),
        "did you mean 'blocks.0.hook_mlp_out'?");
    Tensor residual = torch.zeros(2, 5, 16);
    refused("block -1", () -> ForwardRequest.startingAt(-1, residual), "0 or more", "got -1");
    refused(
        "a block that is not there",
        () -> model.forward(ForwardRequest.startingAt(2, residual)),
        "0 to 1",
        "got 2");
    refused(
        "a residual of another width",
        () -> model.forward(ForwardRequest.startingAt(1, torch.zeros(2, 5, 15))),
        "[batch, seq, d_model]",
        "got [2, 5, 15]");
    refused(
        "a patched start without source outputs",
        () ->
            model.forward(
                ForwardRequest.startingAt(1, residual)
                    .withContext(PatchContext.of(patch, model.masks()))),
        "start source outputs",
        "got none");
    refused(
        "a hook point before the start",
        () ->
            model.forward(
                ForwardRequest.startingAt(1, residual).withReads("blocks.0.hook_mlp_out")),
        "before block 1");
    refused(
        "the embedding of a start from the stream",
        () -> model.forward(ForwardRequest.startingAt(0, residual).withReads("hook_embed")),
        "before block 0");
    refused(
        "source outputs of another shape",
        () ->
            model.forward(
                ForwardRequest.startingAt(1, residual)
                    .withStartSourceOutputs(torch.zeros(11, 2, 4, 16))),
        "start source outputs",
        "[11, 2, 4, 16]");
    refused("no threads", () -> Threads.set(0), "1 or more", "got 0");
  }

  private void losses() {
    PatchContext context = PatchContext.of(patch, model.masks());
    long[][] answers = {{1}, {2}};
    refused(
        "a loss for another batch",
        () -> model.maskGradient(tokens, context, loss(new long[][] {{1}}, answers)),
        "answers: expected a row for each of 2",
        "got 1");
    refused(
        "an answer that is no token",
        () -> model.maskGradient(tokens, context, loss(answers, new long[][] {{1}, {31}})),
        "wrong answers",
        "below 31",
        "got 31 in row 1");
    refused(
        "no answer",
        () -> model.maskGradient(tokens, context, loss(new long[][] {{1}, {-1}}, answers)),
        "none in row 1");
    refused(
        "a gradient without patching",
        () -> model.maskGradient(tokens, PatchContext.NONE, loss(answers, answers)),
        "not patched");
    refused(
        "targets of another shape",
        () ->
            model.maskGradient(
                tokens, context, AnswerLoss.mse(GradFunction.LOGIT, torch.zeros(2, 30))),
        "targets",
        "got [2, 30]");
    refused(
        "a squared loss of answers",
        () -> AnswerLoss.of(GradFunction.LOGIT, AnswerFunction.MSE, answers, answers),
        "MSE");
  }

  @Test
  void aFreedTensorIsNamed() {
    Tensor freed;
    try (PointerScope inner = new PointerScope()) {
      freed = TestModels.tokenTensor(1, 3, 1);
    }
    assertThatThrownBy(() -> model.forward(freed))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("tokens is closed");
  }

  @Test
  void whatIsClosedIsNamed() {
    PatchableModel closed = TestModels.patchable();
    closed.close();
    closed.close();
    List<ThrowingCallable> calls =
        List.of(
            () -> closed.forward(tokens),
            () -> closed.forward(tokens, PatchContext.NONE),
            () -> closed.logits(new long[][] {{1}}),
            () -> closed.sourceAblations(tokens, AblationType.ZERO),
            () -> closed.patchMode(patch),
            () -> closed.patchMode(patch, Masks.uniform(graph, 0)),
            () -> closed.maskFnMode(MaskFn.NONE),
            () -> closed.trainMaskMode(),
            () -> closed.newMaskParameters(),
            () -> closed.masks(),
            () -> closed.weights(),
            () -> closed.to("cpu"));
    assertThat(calls)
        .allSatisfy(
            call ->
                assertThatThrownBy(call)
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("PatchableModel of Model")
                    .hasMessageContaining("is closed"));
    assertThat(closed.graph()).isEqualTo(graph);

    SourceActivations gone = model.sourceAblations(tokens, AblationType.ZERO);
    PatchContext context = PatchContext.of(gone, model.masks());
    gone.close();
    assertThatThrownBy(() -> model.forward(tokens, context))
        .isInstanceOf(IllegalStateException.class)
        .hasMessage("SourceActivations is closed");
  }

  @Test
  void aDeviceThatIsNotThereIsRefusedInALine() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> model.to("nonsense"))
        .withMessage("device: expected cpu, cuda, cuda:N or meta, got nonsense");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> model.to("cuda:99"))
        .withMessageStartingWith("device cuda:99: ")
        .withMessageNotContainingAny("\n", "frame #");
    assumeThat(torch.cuda_is_available()).isFalse();
    assertThatIllegalArgumentException()
        .isThrownBy(() -> model.to("cuda"))
        .withMessageStartingWith("device cuda: this LibTorch is the CPU build; ")
        .withMessageContaining("linux-x86_64-gpu")
        .withMessageNotContainingAny("\n", "frame #");
  }

  @Test
  void shapesOfAWrapperByItselfAreCheckedInNativeCode() {
    Tensor arg0 = torch.zeros(2, 3, 4);
    Tensor sources = torch.zeros(5, 2, 3, 4);
    assertThatThrownBy(
            () ->
                PatchWrapper.interpolate(
                    arg0, sources, sources, PatchWrapper.Mask.of(torch.zeros(4), false, false)))
        .isInstanceOf(NativeException.class)
        .message()
        .doesNotContain("frame #");
  }

  private void refusedActivations(String name, Tensor tensor, String... parts) {
    refused(
        name,
        () -> {
          try (SourceActivations bad = SourceActivations.of(tensor)) {
            model.forward(tokens, PatchContext.of(bad, Masks.uniform(graph, 1)));
          }
        },
        parts);
  }

  private void refused(String name, ThrowingCallable call, String... parts) {
    tests.add(
        dynamicTest(
            name,
            () ->
                assertThatThrownBy(call)
                    .isInstanceOf(IllegalArgumentException.class)
                    .message()
                    .contains(parts)));
  }

  private PatchContext contextOf(PatchableModel positions) {
    return PatchContext.of(patch, Masks.uniform(positions.graph(), 1));
  }

  private static AnswerLoss loss(long[][] answers, long[][] wrongAnswers) {
    return AnswerLoss.of(GradFunction.LOGIT, AnswerFunction.AVG_DIFF, answers, wrongAnswers);
  }
}
