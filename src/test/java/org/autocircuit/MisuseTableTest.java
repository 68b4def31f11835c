package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.autocircuit.AnswerLoss.AnswerFunction;
import org.autocircuit.AnswerLoss.GradFunction;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.MicroModelConfig;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.patch.AblationType;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.MaskParameters;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** Everything that a caller can get wrong is a Java exception that names what and where. */
class MisuseTableTest {

  private static final TransformerConfig CONFIG = RandomModels.SMALL;

  /** What the wrong calls are made on. */
  private static final class Subject implements AutoCloseable {

    final PatchableModel model =
        RandomModels.patchable(CONFIG, Precision.FLOAT32, PatchableModelOptions.defaults(), 5);
    final ModelGraph graph = model.graph();
    final Tensor tokens = RandomModels.tokens(CONFIG, 2, 4, 1);
    final SourceActivations activations = model.sourceAblations(tokens, AblationType.RESAMPLE);
    final Masks masks = Masks.uniform(graph, 0.5);
    final PatchContext context = PatchContext.of(activations, masks);

    AnswerLoss loss(long[][] answers, long[][] wrong) {
      return AnswerLoss.of(GradFunction.LOGIT, AnswerFunction.AVG_DIFF, answers, wrong);
    }

    Tensor floats(long... shape) {
      return torch.zeros(shape);
    }

    @Override
    public void close() {
      activations.close();
      model.close();
    }
  }

  private record Misuse(
      String name,
      Consumer<Subject> call,
      Class<? extends RuntimeException> type,
      List<String> message) {}

  private final List<Misuse> table = new ArrayList<>();

  private void illegal(String name, Consumer<Subject> call, String... message) {
    table.add(new Misuse(name, call, IllegalArgumentException.class, List.of(message)));
  }

  private void state(String name, Consumer<Subject> call, String... message) {
    table.add(new Misuse(name, call, IllegalStateException.class, List.of(message)));
  }

  @TestFactory
  Stream<DynamicTest> everyMisuseIsNamed() {
    inputs();
    contexts();
    edges();
    losses();
    starts();
    weights();
    closedThings();
    return table.stream().map(misuse -> DynamicTest.dynamicTest(misuse.name, () -> check(misuse)));
  }

  private static void check(Misuse misuse) {
    try (PointerScope scope = new PointerScope();
        Subject subject = new Subject()) {
      double[] before = TensorArrays.doubles(subject.model.weights().get("embed.W_E"));
      Throwable thrown = catchThrowable(() -> misuse.call.accept(subject));
      assertThat(thrown)
          .isInstanceOf(misuse.type)
          .hasMessageContainingAll(misuse.message.toArray(String[]::new));
      assertThat(thrown.getMessage()).doesNotContain("Exception raised from", "frame #", ".so");
      if (!subject.model.isClosed()) {
        // The model is as usable as before.
        assertThat(subject.model.openScopes()).isEmpty();
        assertThat(TensorArrays.doubles(subject.model.weights().get("embed.W_E")))
            .isEqualTo(before);
        assertThat(subject.model.forward(subject.tokens).size(1)).isEqualTo(CONFIG.dVocab());
      }
    }
  }

  private void inputs() {
    illegal("no tokens", s -> s.model.forward((Tensor) null), "tokens", "null");
    illegal("undefined tokens", s -> s.model.forward(new Tensor()), "tokens", "undefined");
    illegal(
        "tokens of one dimension",
        s -> s.model.forward(s.tokens.select(0, 0)),
        "tokens",
        "[batch, seq]",
        "[4]");
    illegal("floats as tokens", s -> s.model.forward(s.floats(2, 4)), "tokens", "Long", "Float");
    illegal("integers as tokens", s -> s.model.forward(s.tokens.to(ScalarType.Int)), "Long", "Int");
    illegal(
        "tokens on another device",
        s -> s.model.forward(s.tokens.to(new Device("meta"), ScalarType.Long)),
        "tokens",
        "cpu",
        "meta");
    illegal(
        "a token beyond the vocabulary",
        s -> s.model.logits(new long[][] {{1, 2}, {3, 17}}),
        "0 to 16",
        "17",
        "row 1",
        "position 1");
    illegal(
        "a negative token", s -> s.model.logits(new long[][] {{-1}}), "-1", "row 0", "position 0");
    illegal("more tokens than positions", s -> s.model.logits(new long[1][10]), "at most 9", "10");
    illegal("no prompt", s -> s.model.logits(new long[0][]), "tokens", "at least one");
    illegal("an empty prompt", s -> s.model.logits(new long[1][0]), "tokens", "at least one");
    illegal(
        "an empty batch",
        s -> s.model.forward(s.tokens.narrow(0, 0, 0)),
        "tokens",
        "at least one prompt");
    illegal(
        "prompts of different lengths",
        s -> s.model.logits(new long[][] {{1, 2}, {3}}),
        "2",
        "1",
        "row 1");
    illegal(
        "an unknown hook point",
        s -> s.model.forward(ForwardRequest.of(s.tokens).withReads("blocks.0.hook_resid_prae")),
        "blocks.0.hook_resid_prae",
        "blocks.0.hook_resid_pre");
    illegal(
        "a data-set mean of one batch",
        s -> s.model.sourceAblations(s.tokens, AblationType.TOKENWISE_MEAN_CLEAN),
        "TOKENWISE_MEAN_CLEAN",
        "data set");
    illegal(
        "a batch's ablation of a data set",
        s -> s.model.sourceAblations(List.of(), AblationType.RESAMPLE),
        "RESAMPLE");
    illegal(
        "a mean of no batches",
        s -> s.model.sourceAblations(List.of(), AblationType.TOKENWISE_MEAN_CLEAN),
        "at least one");
  }

  private void contexts() {
    illegal(
        "activations of other prompts",
        s -> s.model.forward(s.tokens.narrow(1, 0, 3).contiguous(), s.context),
        "source activations",
        "[n_srcs, batch, seq, d_model]",
        "3",
        "4");
    illegal(
        "activations of three dimensions",
        s -> SourceActivations.of(s.floats(2, 3, 4)),
        "SourceActivations",
        "[2, 3, 4]");
    illegal(
        "activations of another precision",
        s -> {
          try (SourceActivations wrong =
              SourceActivations.of(s.activations.tensor().to(ScalarType.Double))) {
            s.model.forward(s.tokens, PatchContext.of(wrong, s.masks));
          }
        },
        "source activations",
        "Float",
        "Double");
    illegal(
        "activations on another device",
        s -> {
          try (SourceActivations wrong =
              SourceActivations.of(
                  s.activations.tensor().to(new Device("meta"), ScalarType.Float))) {
            s.model.forward(s.tokens, PatchContext.of(wrong, s.masks));
          }
        },
        "source activations",
        "meta",
        "cpu");
    illegal("masks of another size", s -> Masks.of(s.graph, new double[3]), "masks", "got 3");
    illegal("masks of no example", s -> Masks.perExample(s.graph, new double[0][]), "at least one");
    illegal(
        "masks of another number of examples",
        s ->
            s.model.forward(
                s.tokens,
                PatchContext.of(
                    s.activations, Masks.perExample(s.graph, new double[3][s.graph.maskSize()]))),
        "2 examples",
        "3");
    illegal(
        "masks of another graph",
        s ->
            s.model.forward(
                s.tokens,
                PatchContext.of(
                    s.activations, Masks.uniform(ModelGraph.of(CONFIG, true, false), 0))),
        "masks");
    illegal("a mask tensor of another size", s -> s.model.masks().set(s.floats(3)), "masks", "[3]");
    illegal(
        "uniforms of another shape",
        s ->
            s.model.forward(
                s.tokens,
                PatchContext.builder(s.activations, s.masks)
                    .maskFn(MaskFn.HARD_CONCRETE)
                    .noise(Noise.uniforms(s.floats(2, 3)))
                    .build()),
        "uniforms",
        "[2, 3]");
    for (double dropout : new double[] {-0.1, 1, Double.NaN}) {
      illegal(
          "dropout " + dropout,
          s -> s.model.maskFnMode(MaskFn.NONE, dropout),
          "dropout",
          Double.toString(dropout));
    }
  }

  private void edges() {
    illegal(
        "an unknown edge",
        s -> s.model.patchModeByName(s.activations, List.of("A0.0->MLP 00")),
        "A0.0->MLP 00",
        "A0.0->MLP 0'");
    illegal(
        "an edge backwards in time",
        s -> Masks.ofNames(s.graph, List.of("MLP 1->A0.0.Q")),
        "MLP 1->A0.0.Q");
    illegal(
        "an edge at a position of a graph without positions",
        s -> s.graph.index("A0.0->MLP 0", 2),
        "A0.0->MLP 0",
        "position");
    illegal(
        "an unknown module", s -> s.model.masks().module("blocks.0.hook_mlp_inn"), "hook_mlp_in");
  }

  private void losses() {
    illegal(
        "answers of another batch",
        s -> s.model.maskGradient(s.tokens, s.context, s.loss(new long[][] {{1}}, new long[0][])),
        "answers",
        "2",
        "1");
    illegal(
        "an answer beyond the vocabulary",
        s ->
            s.model.maskGradient(
                s.tokens, s.context, s.loss(new long[][] {{1}, {17}}, new long[][] {{1}, {1}})),
        "answers",
        "17",
        "row 1");
    illegal(
        "a prompt without wrong answers",
        s ->
            s.model.maskGradient(
                s.tokens, s.context, s.loss(new long[][] {{1}, {1}}, new long[][] {{1}, {-1}})),
        "wrong answers",
        "row 1");
    illegal(
        "targets of another shape",
        s ->
            s.model.maskGradient(
                s.tokens, s.context, AnswerLoss.mse(GradFunction.LOGIT, s.floats(2, 3))),
        "targets",
        "[2, 3]");
    illegal(
        "a gradient without patching",
        s ->
            s.model.maskGradient(
                s.tokens,
                PatchContext.NONE,
                s.loss(new long[][] {{1}, {1}}, new long[][] {{1}, {1}})),
        "context");
  }

  private void starts() {
    illegal("block 0", s -> ForwardRequest.startingAt(0, s.floats(2, 4, 12)), "startBlock", "0");
    illegal(
        "a block beyond the last",
        s -> s.model.forward(ForwardRequest.startingAt(2, s.floats(2, 4, 12))),
        "startBlock",
        "2");
    illegal(
        "a residual stream of another width",
        s -> s.model.forward(ForwardRequest.startingAt(1, s.floats(2, 4, 11))),
        "residual",
        "12",
        "11");
    illegal(
        "a patched start without source outputs",
        s ->
            s.model.forward(
                ForwardRequest.startingAt(1, s.floats(2, 4, 12)).withContext(s.context)),
        "source outputs");
    illegal(
        "a read before the start",
        s ->
            s.model.forward(
                ForwardRequest.startingAt(1, s.floats(2, 4, 12))
                    .withReads("blocks.0.hook_resid_pre")),
        "blocks.0.hook_resid_pre",
        "block 1");
  }

  private void weights() {
    illegal(
        "a missing weight",
        s -> withWeights(w -> w.remove("blocks.1.attn.b_O")),
        "blocks.1.attn.b_O",
        "missing");
    illegal(
        "a weight too many",
        s -> withWeights(w -> w.put("blocks.2.attn.b_O", s.floats(12))),
        "blocks.2.attn.b_O");
    illegal(
        "a weight of another shape",
        s -> withWeights(w -> w.put("ln_final.w", s.floats(13))),
        "ln_final.w",
        "[12]",
        "[13]");
    illegal(
        "weights of two precisions",
        s -> withWeights(w -> w.put("ln_final.w", s.floats(12).to(ScalarType.Double))),
        "ln_final.w",
        "Double");
    illegal(
        "half precision",
        s -> withWeights(w -> w.replaceAll((name, weight) -> weight.to(ScalarType.Half))),
        "Half");
    illegal(
        "weights of another model",
        s -> {
          try (Model model = Model.of(new MicroModelConfig(1), Map.of())) {
            throw new AssertionError(model);
          }
        },
        "blocks.0.weights");
    table.add(
        new Misuse(
            "an unknown device", s -> s.model.to("gpu"), RuntimeException.class, List.of("gpu")));
  }

  private static void withWeights(Consumer<Map<String, Tensor>> change) {
    Map<String, Tensor> weights =
        new LinkedHashMap<>(RandomModels.weights(CONFIG, ScalarType.Float, false, 1));
    change.accept(weights);
    try (Model model = Model.of(CONFIG, weights)) {
      throw new AssertionError("made " + model);
    }
  }

  private void closedThings() {
    state(
        "a closed model",
        s -> {
          s.model.close();
          s.model.forward(s.tokens);
        },
        "PatchableModel",
        "closed");
    state(
        "scopes of a closed model",
        s -> {
          s.model.close();
          s.model.patchMode(s.activations, s.masks);
        },
        "closed");
    state(
        "the masks of a closed model",
        s -> {
          MaskParameters masks = s.model.masks();
          s.model.close();
          masks.setAll(1);
        },
        "closed");
    state(
        "closed activations",
        s -> {
          s.activations.close();
          s.model.forward(s.tokens, s.context);
        },
        "SourceActivations",
        "closed");
    state(
        "closed masks",
        s -> {
          MaskParameters masks = s.model.newMaskParameters();
          masks.close();
          s.model.forward(s.tokens, PatchContext.of(s.activations, masks));
        },
        "MaskParameters",
        "closed");
    state(
        "a closed tensor",
        s -> {
          Tensor closed = RandomModels.tokens(CONFIG, 2, 4, 1);
          closed.close();
          s.model.forward(closed);
        },
        "tokens",
        "closed");
    state("gradients of nothing", s -> s.model.masks().gradients(), "no gradients");
  }
}
