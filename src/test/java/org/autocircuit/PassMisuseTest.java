package org.autocircuit;

import java.util.Arrays;
import java.util.List;
import java.util.function.Function;
import java.util.stream.Stream;
import org.autocircuit.AnswerLoss.GradFunction;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.patch.AblationType;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** Every wrong argument of a pass is a Java exception that names what and where. */
@SuppressWarnings("MustBeClosedChecker") // modes that are refused before they open
class PassMisuseTest {

  private static final TransformerConfig CONFIG = MisuseTable.CONFIG;

  private final MisuseTable table = new MisuseTable();

  @TestFactory
  Stream<DynamicTest> everyMisuseIsNamed() {
    inputs();
    attentionMasks();
    prefixes();
    contexts();
    edges();
    losses();
    starts();
    return table.tests();
  }

  private void inputs() {
    table.illegal("no tokens", s -> s.model.forward((Tensor) null), "tokens", "null");
    table.illegal("undefined tokens", s -> s.model.forward(new Tensor()), "tokens", "undefined");
    table.illegal(
        "tokens of one dimension",
        s -> s.model.forward(s.tokens.select(0, 0)),
        "tokens",
        "[batch, seq]",
        "[4]");
    table.illegal(
        "floats as tokens", s -> s.model.forward(s.floats(2, 4)), "tokens", "Long", "Float");
    table.illegal(
        "integers as tokens", s -> s.model.forward(s.tokens.to(ScalarType.Int)), "Long", "Int");
    table.illegal(
        "tokens on another device",
        s -> s.model.forward(s.tokens.to(new Device("meta"), ScalarType.Long)),
        "tokens",
        "cpu",
        "meta");
    table.illegal(
        "a token beyond the vocabulary",
        s -> s.model.logits(new long[][] {{1, 2}, {3, 17}}),
        "0 to 16",
        "17",
        "row 1",
        "position 1");
    table.illegal(
        "a negative token", s -> s.model.logits(new long[][] {{-1}}), "-1", "row 0", "position 0");
    table.illegal(
        "more tokens than positions", s -> s.model.logits(new long[1][10]), "at most 9", "10");
    table.illegal("no prompt", s -> s.model.logits(new long[0][]), "tokens", "at least one");
    table.illegal("an empty prompt", s -> s.model.logits(new long[1][0]), "tokens", "at least one");
    table.illegal(
        "an empty batch",
        s -> s.model.forward(s.tokens.narrow(0, 0, 0)),
        "tokens",
        "at least one prompt");
    table.illegal(
        "one empty prompt among others",
        s -> s.model.logits(new long[][] {{1, 2}, {}}),
        "tokens",
        "at least one",
        "row 1");
    table.illegal(
        "a token beyond the vocabulary in a gradient",
        s ->
            s.model.maskGradient(
                s.tokens.add(new Scalar(17)),
                s.context,
                s.loss(new long[][] {{1}, {1}}, new long[][] {{1}, {1}})),
        "0 to 16",
        "row 0",
        "position 0");
    table.illegal(
        "a token beyond the vocabulary in an ablation",
        s -> s.model.sourceAblations(new long[][] {{1, 17}}, AblationType.ZERO),
        "0 to 16",
        "17",
        "position 1");
    table.illegal(
        "an unknown hook point",
        s -> s.model.forward(ForwardRequest.of(s.tokens).withReads("blocks.0.hook_resid_prae")),
        "blocks.0.hook_resid_prae",
        "blocks.0.hook_resid_pre");
    table.illegal(
        "a data-set mean of one batch",
        s -> s.model.sourceAblations(s.tokens, AblationType.TOKENWISE_MEAN_CLEAN),
        "TOKENWISE_MEAN_CLEAN",
        "data set");
    table.illegal(
        "a batch's ablation of a data set",
        s -> s.model.sourceAblations(List.of(), AblationType.RESAMPLE),
        "RESAMPLE");
    table.illegal(
        "a mean of no batches",
        s -> s.model.sourceAblations(List.of(), AblationType.TOKENWISE_MEAN_CLEAN),
        "at least one");
  }

  private void attentionMasks() {
    mask("of another shape", s -> s.floats(2, 3).to(ScalarType.Long), "[2, 4]", "[2, 3]");
    mask("of floats", s -> s.floats(2, 4), "Long", "Float");
    mask(
        "on another device",
        s -> s.tokens.to(new Device("meta"), ScalarType.Long),
        "device cpu",
        "meta");
    long[][] wrong = {{1, 1, 0, 0}, {0, 1, 0, 1}, {0, 0, 0, 0}, {0, 0, 2, 1}, {0, -1, 1, 1}};
    for (long[] row : wrong) {
      mask(
          Arrays.toString(row),
          s -> TensorArrays.of(new long[][] {{0, 0, 1, 1}, row}, "mask", "cpu"),
          "0 for padding, then 1 for at least one token",
          Arrays.toString(row),
          "row 1");
    }
    table.illegal(
        "a mask in an ablation",
        s ->
            s.model.sourceAblations(
                ModelInput.of(s.tokens).withAttentionMask(s.tokens.zero_()), AblationType.ZERO),
        "attention mask",
        "row 0");
    table.illegal(
        "a mask of a micro model",
        s -> {
          try (PatchableModel micro = TestModels.micro(PatchableModelOptions.defaults())) {
            micro.forward(
                ForwardRequest.of(s.floats(2, 4, 2).to(ScalarType.Double))
                    .withAttentionMask(s.tokens));
          }
        },
        "attention mask",
        "no attention");
  }

  private void mask(String name, Function<MisuseTable.Subject, Tensor> mask, String... message) {
    String[] all = Arrays.copyOf(message, message.length + 1);
    all[message.length] = "attention mask";
    table.illegal(
        "an attention mask " + name,
        s -> s.model.forward(ForwardRequest.of(s.tokens).withAttentionMask(mask.apply(s))),
        all);
  }

  private void prefixes() {
    table.illegal(
        "a prefix and tokens beyond the last position",
        s -> {
          try (PrefixCache prefix = PrefixCache.of(s.model, new long[1][6])) {
            s.model.forward(ForwardRequest.of(s.tokens).withPrefix(prefix));
          }
        },
        "at most 9",
        "got 4 after a prefix of 6");
    table.illegal(
        "a prefix of another precision",
        s -> {
          try (PatchableModel other =
                  RandomModels.patchable(
                      CONFIG, Precision.FLOAT64, PatchableModelOptions.defaults(), 1);
              PrefixCache prefix = PrefixCache.of(other, new long[1][2])) {
            s.model.forward(ForwardRequest.of(s.tokens).withPrefix(prefix));
          }
        },
        "prefix",
        "Float",
        "Double");
    table.illegal(
        "a prefix of more rows than prompts",
        s -> {
          try (PrefixCache prefix = PrefixCache.of(s.model, new long[3][2])) {
            s.model.sourceAblations(
                ModelInput.of(s.tokens).withPrefix(prefix), AblationType.RESAMPLE);
          }
        },
        "prefix",
        "each of 2",
        "3 rows");
    table.state(
        "a closed prefix",
        s -> {
          PrefixCache prefix = PrefixCache.of(s.model, new long[1][2]);
          prefix.close();
          s.model.forward(ForwardRequest.of(s.tokens).withPrefix(prefix));
        },
        "PrefixCache is closed");
  }

  @SuppressWarnings("MustBeClosedChecker") // they are never opened
  private void contexts() {
    table.illegal(
        "activations of other prompts",
        s -> s.model.forward(s.tokens.narrow(1, 0, 3).contiguous(), s.context),
        "source activations",
        "[n_srcs, batch, seq, d_model]",
        "3",
        "4");
    table.illegal(
        "activations of three dimensions",
        s -> SourceActivations.of(s.floats(2, 3, 4)),
        "SourceActivations",
        "[2, 3, 4]");
    table.illegal(
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
    table.illegal(
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
        "3");
    table.illegal(
        "masks of another graph",
        s ->
            s.model.forward(
                s.tokens,
                PatchContext.of(
                    s.activations, Masks.uniform(ModelGraph.of(CONFIG, true, false), 0))),
        "masks");
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
        "uniforms",
        "[2, 3]");
    for (double dropout : new double[] {-0.1, 1, Double.NaN}) {
      table.illegal(
          "dropout " + dropout,
          s -> s.model.maskFnMode(MaskFn.NONE, dropout),
          "dropout",
          Double.toString(dropout));
    }
  }

  @SuppressWarnings("MustBeClosedChecker") // they are never opened
  private void edges() {
    table.illegal(
        "an unknown edge",
        s -> s.model.patchModeByName(s.activations, List.of("A0.0->MLP 00")),
        "A0.0->MLP 00",
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
  }

  private void losses() {
    table.illegal(
        "answers of another batch",
        s -> s.model.maskGradient(s.tokens, s.context, s.loss(new long[][] {{1}}, new long[0][])),
        "answers",
        "2",
        "1");
    table.illegal(
        "an answer beyond the vocabulary",
        s ->
            s.model.maskGradient(
                s.tokens, s.context, s.loss(new long[][] {{1}, {17}}, new long[][] {{1}, {1}})),
        "answers",
        "17",
        "row 1");
    table.illegal(
        "a prompt without wrong answers",
        s ->
            s.model.maskGradient(
                s.tokens, s.context, s.loss(new long[][] {{1}, {1}}, new long[][] {{1}, {-1}})),
        "wrong answers",
        "row 1");
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
        "context");
  }

  private void starts() {
    table.illegal(
        "block -1", s -> ForwardRequest.startingAt(-1, s.floats(2, 4, 12)), "startBlock", "-1");
    table.illegal(
        "a block beyond the last",
        s -> s.model.forward(ForwardRequest.startingAt(2, s.floats(2, 4, 12))),
        "startBlock",
        "2");
    table.illegal(
        "a residual stream of another width",
        s -> s.model.forward(ForwardRequest.startingAt(1, s.floats(2, 4, 11))),
        "residual",
        "12",
        "11");
    table.illegal(
        "a patched start without source outputs",
        s ->
            s.model.forward(
                ForwardRequest.startingAt(1, s.floats(2, 4, 12)).withContext(s.context)),
        "source outputs");
    table.illegal(
        "a read before the start",
        s ->
            s.model.forward(
                ForwardRequest.startingAt(1, s.floats(2, 4, 12))
                    .withReads("blocks.0.hook_resid_pre")),
        "blocks.0.hook_resid_pre",
        "block 1");
  }
}
