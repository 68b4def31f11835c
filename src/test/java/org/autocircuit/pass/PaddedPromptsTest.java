package org.autocircuit.pass;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.autocircuit.Close.assertClose;
import static org.autocircuit.RandomModels.SMALL;

import java.util.List;
import org.autocircuit.NativeScope;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.RandomModels;
import org.autocircuit.TestDevice;
import org.autocircuit.TestModels;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Precision;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;

/** Tests how prompts are padded, and that means ignore padding. */
@ExtendWith(NativeScope.class)
class PaddedPromptsTest {

  private static final long[][] PROMPTS = {{1, 2, 3}, {4}, {5, 6}};

  private final PatchableModel model =
      RandomModels.patchable(SMALL, Precision.FLOAT64, PatchableModelOptions.defaults(), 5);

  @AfterEach
  void close() {
    model.close();
  }

  private Tensor sources(long[]... prompts) {
    try (SourceActivations outputs = model.sourceAblations(prompts, BatchAblation.RESAMPLE)) {
      return outputs.tensor();
    }
  }

  private Tensor ablated(long[][] prompts, BatchAblation type) {
    try (SourceActivations outputs = model.sourceAblations(prompts, type)) {
      return outputs.tensor();
    }
  }

  /** The mean of tensors of one shape. */
  private static Tensor mean(Tensor... tensors) {
    Tensor sum = tensors[0];
    for (int i = 1; i < tensors.length; i++) {
      sum = sum.add(tensors[i]);
    }
    return sum.div(new Scalar(tensors.length));
  }

  /** Source outputs {@code [n_srcs, d_model]} of one prompt at a position counted from its end. */
  private static Tensor fromEnd(Tensor outputs, int position) {
    return outputs.select(1, 0).select(1, -1 - position);
  }

  @Test
  void shorterPromptsArePaddedOnTheLeft() {
    ModelInput input = ModelInput.ofPrompts(PROMPTS, TestDevice.NAME);
    assertThat(TensorArrays.longs(input.value())).containsExactly(1, 2, 3, 0, 0, 4, 0, 5, 6);
    assertThat(TensorArrays.longs(input.attentionMask().orElseThrow()))
        .containsExactly(1, 1, 1, 0, 0, 1, 0, 1, 1);
    assertThat(input.prefix()).isEmpty();
    assertThat(ModelInput.ofPrompts(new long[][] {{1, 2}, {3, 4}}, TestDevice.NAME).attentionMask())
        .isEmpty();
  }

  @Test
  void requestsTakePromptsAsArrays() {
    long[][] prompts = {{1, 2, 3}, {4}, {5, 6}};
    ForwardRequest request = ForwardRequest.of(prompts);
    prompts[0][0] = 4;
    Tensor expected =
        model.forward(ForwardRequest.of(ModelInput.ofPrompts(PROMPTS, "cpu"))).logits();
    assertClose("logits", model.forward(request).logits(), expected, 0);
    assertClose("the second time", model.forward(request).logits(), expected, 0);
    try (PrefixCache prefix = model.prefixOf(new long[][] {{7, 8}})) {
      assertClose(
          "after a prefix",
          model.forward(request.withPrefix(prefix)).logits(),
          model
              .forward(ForwardRequest.of(ModelInput.ofPrompts(PROMPTS, "cpu")).withPrefix(prefix))
              .logits(),
          0);
    }
    assertThatIllegalArgumentException()
        .isThrownBy(() -> model.forward(ForwardRequest.of(new long[][] {{1}, {}})))
        .withMessageContaining("got none in row 1");
  }

  @Test
  void booleansAreMasksToo() {
    ModelInput input = ModelInput.ofPrompts(PROMPTS, TestDevice.NAME);
    Tensor mask = input.attentionMask().orElseThrow();
    Tensor expected = model.forward(ForwardRequest.of(input)).logits();
    ForwardRequest request =
        ForwardRequest.of(input.value()).withAttentionMask(mask.to(ScalarType.Bool));
    assertClose("logits", model.forward(request).logits(), expected, 0);
  }

  @Test
  void meansOverABatchLeavePaddingOut() {
    Tensor[] alone = {sources(PROMPTS[0]), sources(PROMPTS[1]), sources(PROMPTS[2])};
    Tensor last = mean(fromEnd(alone[0], 0), fromEnd(alone[1], 0), fromEnd(alone[2], 0));
    Tensor middle = mean(fromEnd(alone[0], 1), fromEnd(alone[2], 1));
    Tensor first = fromEnd(alone[0], 2);
    Tensor means = ablated(PROMPTS, BatchAblation.BATCH_TOKENWISE_MEAN);
    for (int row = 0; row < PROMPTS.length; row++) {
      assertClose("first", means.select(1, row).select(1, 0), first, 1e-12);
      assertClose("middle", means.select(1, row).select(1, 1), middle, 1e-12);
      assertClose("last", means.select(1, row).select(1, 2), last, 1e-12);
    }
    Tensor all =
        last.mul(new Scalar(3)).add(middle.mul(new Scalar(2))).add(first).div(new Scalar(6));
    Tensor flat = ablated(PROMPTS, BatchAblation.BATCH_ALL_TOK_MEAN);
    assertClose("all", flat.select(1, 1).select(1, 0), all, 1e-12);
  }

  @Test
  void meansOverADataSetLeavePaddingOut() {
    List<PromptPairBatch> alone =
        List.of(TestModels.batch(1, 3, 10), TestModels.batch(1, 2, 20), TestModels.batch(2, 3, 30));
    List<PromptPairBatch> batches = List.of(TestModels.together(alone.subList(0, 2)), alone.get(2));
    try (PatchableModel large =
            TestModels.patchable(Precision.FLOAT64, PatchableModelOptions.defaults());
        SourceActivations means =
            large.sourceAblations(batches, DatasetAblation.TOKENWISE_MEAN_CLEAN)) {
      long[][] three = alone.get(2).clean();
      long[][][] prompts = {alone.get(0).clean(), alone.get(1).clean(), {three[0]}, {three[1]}};
      Tensor[] outputs = new Tensor[4];
      for (int i = 0; i < 4; i++) {
        try (SourceActivations own = large.sourceAblations(prompts[i], BatchAblation.RESAMPLE)) {
          outputs[i] = own.tensor();
        }
      }
      assertThat(means.tensor().size(2)).isEqualTo(3);
      for (int position = 0; position < 2; position++) {
        Tensor expected =
            mean(
                fromEnd(outputs[0], position),
                fromEnd(outputs[1], position),
                fromEnd(outputs[2], position),
                fromEnd(outputs[3], position));
        assertClose("mean", fromEnd(means.tensor(), position), expected, 1e-12);
      }
      Tensor expected =
          mean(fromEnd(outputs[0], 2), fromEnd(outputs[2], 2), fromEnd(outputs[3], 2));
      assertClose("where one is padded", fromEnd(means.tensor(), 2), expected, 1e-12);
    }
  }

  @Test
  void batchesOfDifferentLengthsHaveNoMean() {
    List<PromptPairBatch> batches = List.of(TestModels.batch(1, 3, 1), TestModels.batch(1, 2, 2));
    try (PatchableModel large = TestModels.patchable()) {
      assertThatIllegalArgumentException()
          .isThrownBy(() -> large.sourceAblations(batches, DatasetAblation.TOKENWISE_MEAN_CLEAN))
          .withMessage("batches: expected prompts of 3 tokens as in the first batch, got 2");
    }
  }
}
