package org.autocircuit.pass;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import org.autocircuit.PatchableModel;
import org.autocircuit.TestModels;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.attribution.MaskGradientResult;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;

/** Results that own native memory give it back when they are closed, with a scope or without. */
class ResultsTest {

  private static final long[][] TOKENS = {{1, 2, 3}, {4, 5, 6}};
  private static final String HOOK = "blocks.0.hook_resid_pre";

  @Test
  void closingAForwardResultFreesEveryTensorOfIt() {
    try (PatchableModel model = TestModels.patchable()) {
      forward(model);
      try (PointerScope scope = new PointerScope()) {
        forward(model);
      }
      assertThat(model.logits(TOKENS)).hasDimensions(2, 31);
    }
  }

  private static void forward(PatchableModel model) {
    ForwardRequest request = ForwardRequest.of(TOKENS).withSourceOutputs().withReads(HOOK);
    List<Tensor> tensors = new ArrayList<>();
    ForwardResult result = model.forward(request);
    try (result) {
      tensors.add(result.logits());
      tensors.add(result.sourceOutputs().orElseThrow());
      tensors.add(result.read(HOOK));
      assertThat(tensors).noneMatch(tensor -> tensor.isNull());
    }
    assertThat(tensors).allMatch(tensor -> tensor.isNull());
    result.close();
  }

  @Test
  void closingAMaskGradientResultFreesEveryTensorOfIt() {
    try (PatchableModel model = TestModels.patchable();
        SourceActivations patch = model.sourceAblations(TOKENS, BatchAblation.ZERO)) {
      PatchContext context = PatchContext.of(patch, Masks.uniform(model.graph(), 0.5));
      gradient(model, context);
      try (PointerScope scope = new PointerScope()) {
        gradient(model, context);
      }
    }
  }

  private static void gradient(PatchableModel model, PatchContext context) {
    long[][] answers = {{1}, {2}};
    AnswerLoss loss =
        AnswerLoss.of(GradFunction.LOGIT, AnswerFunction.AVG_VAL, answers, new long[0][]);
    List<Tensor> tensors = new ArrayList<>();
    MaskGradientResult result = model.maskGradient(TOKENS, context, loss);
    try (result) {
      tensors.addAll(List.of(result.gradient(), result.loss(), result.logits()));
      assertThat(tensors).noneMatch(tensor -> tensor.isNull());
    }
    assertThat(tensors).allMatch(tensor -> tensor.isNull());
    result.close();
  }
}
