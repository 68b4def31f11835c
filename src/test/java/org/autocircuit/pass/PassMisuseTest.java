package org.autocircuit.pass;

import java.util.Arrays;
import java.util.function.Function;
import java.util.stream.Stream;
import org.autocircuit.MisuseTable;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.RandomModels;
import org.autocircuit.TestModels;
import org.autocircuit.Threads;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.patch.BatchAblation;
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
    starts();
    return table.tests();
  }

  private void inputs() {
    table.illegal("no tokens", s -> s.model.forward((Tensor) null), "tokens", "null");
    table.illegal("undefined tokens", s -> s.model.forward(new Tensor()), "tokens", "undefined");
    table.illegal(
        "tokens of one dimension",
        s -> s.model.forward(s.tokens.select(0, 0)),
        "tokens: expected shape [batch, seq]",
        "got [4]");
    table.illegal(
        "floats as tokens",
        s -> s.model.forward(s.floats(2, 4)),
        "tokens: expected dtype Long",
        "got Float");
    table.illegal(
        "integers as tokens", s -> s.model.forward(s.tokens.to(ScalarType.Int)), "Long", "Int");
    table.illegal(
        "tokens on another device",
        s -> s.model.forward(s.tokens.to(new Device("meta"), ScalarType.Long)),
        "tokens: expected device cpu",
        "got meta");
    table.illegal(
        "a token beyond the vocabulary",
        s -> s.model.logits(new long[][] {{1, 2}, {3, 17}}),
        "expected 0 to 16",
        "got 17 in row 1 at position 1");
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
        "at least one in each row, got none in row 1");
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
        s -> s.model.sourceAblations(new long[][] {{1, 17}}, BatchAblation.ZERO),
        "0 to 16",
        "17",
        "position 1");
    table.illegal(
        "an unknown hook point",
        s -> s.model.forward(ForwardRequest.of(s.tokens).withReads("blocks.0.hook_resid_prae")),
        "did you mean 'blocks.0.hook_resid_pre'?");
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
                ModelInput.of(s.tokens).withAttentionMask(s.tokens.zero_()), BatchAblation.ZERO),
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
          try (PrefixCache prefix = s.model.prefixOf(new long[1][6])) {
            s.model.forward(ForwardRequest.of(s.tokens).withPrefix(prefix));
          }
        },
        "at most 9",
        "got 4 after a prefix of 6");
    table.illegal(
        "a prefix of ragged rows",
        s -> s.model.prefixOf(new long[][] {{1, 2}, {3}}).close(),
        "rows of 2 values, got 1 in row 1");
    table.illegal(
        "a prefix of another precision",
        s -> {
          try (PatchableModel other =
                  RandomModels.patchable(
                      CONFIG, Precision.FLOAT64, PatchableModelOptions.defaults(), 1);
              PrefixCache prefix = other.prefixOf(new long[1][2])) {
            s.model.forward(ForwardRequest.of(s.tokens).withPrefix(prefix));
          }
        },
        "prefix",
        "Float",
        "Double");
    table.illegal(
        "a prefix of more rows than prompts",
        s -> {
          try (PrefixCache prefix = s.model.prefixOf(new long[3][2])) {
            s.model.sourceAblations(
                ModelInput.of(s.tokens).withPrefix(prefix), BatchAblation.RESAMPLE);
          }
        },
        "prefix",
        "each of 2",
        "3 rows");
    table.state(
        "a closed prefix",
        s -> {
          PrefixCache prefix = s.model.prefixOf(new long[1][2]);
          prefix.close();
          s.model.forward(ForwardRequest.of(s.tokens).withPrefix(prefix));
        },
        "PrefixCache is closed");
  }

  private void starts() {
    table.illegal(
        "block -1", s -> ForwardRequest.startingAt(-1, s.floats(2, 4, 12)), "startBlock", "-1");
    table.illegal(
        "a block beyond the last",
        s -> s.model.forward(ForwardRequest.startingAt(2, s.floats(2, 4, 12))),
        "startBlock",
        "0 to 1",
        "got 2");
    table.illegal(
        "a residual stream of another width",
        s -> s.model.forward(ForwardRequest.startingAt(1, s.floats(2, 4, 11))),
        "residual",
        "[batch, seq, d_model]",
        "got [2, 4, 11]");
    table.illegal(
        "a patched start without source outputs",
        s ->
            s.model.forward(
                ForwardRequest.startingAt(1, s.floats(2, 4, 12)).withContext(s.context)),
        "start source outputs",
        "got none");
    table.illegal(
        "a read before the start",
        s ->
            s.model.forward(
                ForwardRequest.startingAt(1, s.floats(2, 4, 12))
                    .withReads("blocks.0.hook_resid_pre")),
        "blocks.0.hook_resid_pre",
        "block 1");
    table.illegal(
        "a read of the embedding where the stream is given",
        s ->
            s.model.forward(
                ForwardRequest.startingAt(0, s.floats(2, 4, 12)).withReads("hook_embed")),
        "before block 0");
    table.illegal(
        "source outputs of another length",
        s ->
            s.model.forward(
                ForwardRequest.startingAt(1, s.floats(2, 4, 12))
                    .withStartSourceOutputs(s.activations.tensor().narrow(2, 0, 3))),
        "start source outputs",
        "2, 4, 12]",
        "2, 3, 12]");
    table.illegal("no threads", s -> Threads.set(0), "expected 1 to ", "got 0");
  }
}
