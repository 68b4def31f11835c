package org.autocircuit.patch;

import java.util.Arrays;
import java.util.List;
import java.util.function.Function;
import java.util.stream.Stream;
import org.autocircuit.MisuseTable;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.RandomModels;
import org.autocircuit.TestModels;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** Tests that misfits are named in what patches a pass, and in what a gradient is of. */
@SuppressWarnings("MustBeClosedChecker") // modes that are refused before they open
class PatchMisuseTest {

  private static final TransformerConfig CONFIG = MisuseTable.CONFIG;

  private final MisuseTable table = new MisuseTable();

  @TestFactory
  Stream<DynamicTest> everyMisuseIsNamed() {
    dataSets();
    contexts();
    edges();
    losses();
    return table.tests();
  }

  private void dataSets() {
    table.illegal(
        "a mean of no batches",
        s -> s.model.sourceAblations(List.of(), DatasetAblation.TOKENWISE_MEAN_CLEAN),
        "at least one");
    table.illegal(
        "a data set of two lengths",
        s ->
            s.model.sourceAblations(
                List.of(
                    TestModels.batch(new long[1][3], new long[1][3], 1),
                    TestModels.batch(new long[1][4], new long[1][4], 1)),
                DatasetAblation.TOKENWISE_MEAN_CLEAN),
        "3 tokens",
        "got 4");
  }

  @SuppressWarnings("MustBeClosedChecker") // they are never opened
  private void contexts() {
    table.illegal(
        "activations of other prompts",
        s -> s.model.forward(s.tokens.narrow(1, 0, 3).contiguous(), s.context),
        "source activations",
        "[n_srcs, batch, seq, d_model]",
        "2, 3, 12]",
        "2, 4, 12]");
    activations("of too few sources", s -> s.activations.tensor().narrow(0, 0, 3), "[3, 2, 4, 12]");
    activations(
        "of another batch",
        s -> s.activations.tensor().repeat(1, 2, 1, 1),
        "2, 4, 12]",
        "4, 4, 12]");
    table.illegal(
        "activations of three dimensions",
        s -> SourceActivations.of(s.floats(2, 3, 4)),
        "SourceActivations",
        "[n_srcs, batch, seq, d_model]",
        "got [2, 3, 4]");
    activations(
        "of another precision",
        s -> s.activations.tensor().to(ScalarType.Double),
        "expected dtype Float",
        "got Double");
    activations(
        "on another device",
        s -> s.activations.tensor().to(new Device("meta"), ScalarType.Float),
        "cpu",
        "meta");
    table.illegal("masks of another size", s -> Masks.of(s.graph, new double[3]), "masks", "got 3");
    table.illegal(
        "masks of no example", s -> Masks.perExample(s.graph, new double[0][]), "at least one");
    table.illegal(
        "masks of another number of examples",
        s ->
            s.model.forward(
                s.tokens,
                PatchContext.of(
                    s.activations, Masks.perExample(s.graph, new double[3][s.graph.maskSize()]))),
        "2 examples",
        "of 3");
    table.illegal(
        "masks of another graph",
        s ->
            s.model.forward(
                s.tokens,
                PatchContext.of(
                    s.activations, Masks.uniform(ModelGraph.of(CONFIG, false, false), 0))),
        "masks: expected those of a factorised graph",
        "got those of a residual graph");
    table.illegal(
        "default masks from another graph",
        s -> s.model.masks().set(Masks.uniform(ModelGraph.of(CONFIG, false, false), 0)),
        "factorised",
        "residual");
    table.illegal(
        "prompts of a length that the graph has not",
        s -> {
          PatchableModelOptions six = PatchableModelOptions.defaults().withSeqLen(6);
          try (PatchableModel model = RandomModels.patchable(CONFIG, Precision.FLOAT32, six, 5)) {
            Masks masks = Masks.uniform(model.graph(), 1);
            model.forward(s.tokens, PatchContext.of(s.activations, masks));
          }
        },
        "expected 6 positions",
        "got 4");
    table.illegal(
        "a mask tensor of another size", s -> s.model.masks().set(s.floats(3)), "masks", "[3]");
    table.illegal(
        "uniforms of another shape",
        s ->
            s.model.forward(
                s.tokens,
                PatchContext.builder(s.activations, s.masks)
                    .maskFn(MaskFn.HARD_CONCRETE)
                    .noise(Noise.uniforms(s.floats(2, 3)))
                    .build()),
        "uniforms: expected shape [batch, n_masks]",
        "got [2, 3]");
    for (double dropout : new double[] {-0.1, 1, Double.NaN}) {
      table.illegal(
          "dropout " + dropout,
          s -> s.model.maskFnMode(MaskFn.NONE, dropout),
          "dropout",
          Double.toString(dropout));
    }
  }

  private void activations(
      String name, Function<MisuseTable.Subject, Tensor> tensor, String... message) {
    String[] all = Arrays.copyOf(message, message.length + 1);
    all[message.length] = "source activations";
    table.illegal(
        "activations " + name,
        s -> {
          try (SourceActivations wrong = SourceActivations.of(tensor.apply(s))) {
            s.model.forward(s.tokens, PatchContext.of(wrong, s.masks));
          }
        },
        all);
  }

  @SuppressWarnings("MustBeClosedChecker") // they are never opened
  private void edges() {
    table.illegal(
        "an unknown edge",
        s -> s.model.patchModeByName(s.activations, List.of("A0.0->MLP 00")),
        "A0.0->MLP 00",
        "did you mean",
        "A0.0->MLP 0'");
    table.illegal(
        "an edge backwards in time",
        s -> Masks.ofNames(s.graph, List.of("MLP 1->A0.0.Q")),
        "MLP 1->A0.0.Q");
    table.illegal(
        "an edge at a position of a graph without positions",
        s -> s.graph.index("A0.0->MLP 0", 2),
        "A0.0->MLP 0",
        "position");
    table.illegal(
        "an unknown module", s -> s.model.masks().module("blocks.0.hook_mlp_inn"), "hook_mlp_in");
    table.illegal(
        "an unknown mask",
        s -> s.model.masks().set("A0.0->MLP 9", 1),
        "A0.0->MLP 9",
        "did you mean");
    table.illegal(
        "an edge of another model",
        s -> s.model.patchMode(s.activations, ModelGraph.of(TestModels.MICRO, true, false).edges()),
        "B0.0");
  }

  private void losses() {
    table.illegal(
        "answers of another batch",
        s -> s.model.maskGradient(s.tokens, s.context, s.loss(new long[][] {{1}}, new long[0][])),
        "answers: expected a row for each of 2",
        "got 1");
    table.illegal(
        "an answer beyond the vocabulary",
        s ->
            s.model.maskGradient(
                s.tokens, s.context, s.loss(new long[][] {{1}, {17}}, new long[][] {{1}, {1}})),
        "answers",
        "below 17",
        "got 17 in row 1");
    table.illegal(
        "a prompt without wrong answers",
        s ->
            s.model.maskGradient(
                s.tokens, s.context, s.loss(new long[][] {{1}, {1}}, new long[][] {{1}, {-1}})),
        "wrong answers",
        "row 1");
    table.illegal(
        "a prompt without answers",
        s ->
            s.model.maskGradient(
                s.tokens, s.context, s.loss(new long[][] {{1}, {-1}}, new long[][] {{1}, {1}})),
        "answers",
        "none in row 1");
    table.illegal(
        "a squared loss of answers",
        s ->
            AnswerLoss.of(
                GradFunction.LOGIT, AnswerFunction.MSE, new long[][] {{1}}, new long[][] {{1}}),
        "MSE");
    table.illegal(
        "targets of another shape",
        s ->
            s.model.maskGradient(
                s.tokens, s.context, AnswerLoss.mse(GradFunction.LOGIT, s.floats(2, 3))),
        "targets",
        "[2, 3]");
    table.illegal(
        "a gradient without patching",
        s ->
            s.model.maskGradient(
                s.tokens,
                PatchContext.NONE,
                s.loss(new long[][] {{1}, {1}}, new long[][] {{1}, {1}})),
        "not patched");
  }
}
