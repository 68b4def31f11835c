package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.autocircuit.RandomModels.SMALL;

import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.attribution.EdgeAttribution;
import org.autocircuit.exception.NativeException;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ForwardResult;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;

/** Tests that a message names what failed when native code fails. */
@ExtendWith(NativeScope.class)
class NativeFailureTest {

  private static final int VOCABULARY = SMALL.dVocab();
  private static final AnswerLoss LOSS =
      AnswerLoss.of(
          GradFunction.LOGIT,
          AnswerFunction.AVG_VAL,
          new long[][] {{3}, {1}},
          new long[][] {{2}, {8}});

  /** A graph with inputs of q, k and v apart does not come to the input that they would share. */
  @Test
  void aFailureOfAPassThatStartsFromAResidualStreamSaysNothingOfTokens() {
    try (PatchableModel model = model()) {
      Tensor tokens = RandomModels.tokens(SMALL, 2, 4, 1);
      try (SourceActivations activations = model.sourceAblations(tokens, BatchAblation.RESAMPLE)) {
        String stream = "blocks.1.hook_resid_pre";
        ForwardResult clean =
            model.forward(ForwardRequest.of(tokens).withReads(stream).withSourceOutputs());
        // As tokens these would be negative.
        Tensor residual = clean.read(stream).sub(new Scalar(9));
        PatchContext context = PatchContext.of(activations, Masks.uniform(model.graph(), 0.5));
        ForwardRequest failing =
            ForwardRequest.startingAt(1, residual)
                .withContext(context)
                .withStartSourceOutputs(clean.sourceOutputs().orElseThrow())
                .withReads("blocks.1.hook_attn_in");
        assertThatThrownBy(() -> model.forward(failing))
            .isInstanceOf(NativeException.class)
            .hasMessageContaining("blocks.1.hook_attn_in")
            .hasMessageNotContaining("tokens");
      }
    }
  }

  @Test
  void aWordOnTokensHasTheNativeFailureAsItsCause() {
    try (PatchableModel model = model()) {
      Tensor wrong = RandomModels.tokens(SMALL, 2, 4, 1);
      wrong.select(0, 1).fill_(new Scalar(VOCABULARY));
      assertThatIllegalArgumentException()
          .isThrownBy(() -> model.forward(wrong))
          .withMessageContaining(
              "tokens: expected 0 to %s, got %s in row 1", VOCABULARY - 1, VOCABULARY)
          .withCauseInstanceOf(NativeException.class);
    }
  }

  @Test
  void corruptTokensAreLookedAtToo() {
    try (PatchableModel model = model()) {
      Tensor clean = RandomModels.tokens(SMALL, 2, 4, 1);
      Tensor corrupt = RandomModels.tokens(SMALL, 2, 4, 2);
      corrupt.select(0, 1).fill_(new Scalar(VOCABULARY));
      EdgeAttribution attribution =
          EdgeAttribution.resampled(ModelInput.of(clean), ModelInput.of(corrupt), LOSS);
      assertThatIllegalArgumentException()
          .isThrownBy(() -> model.maskGradient(attribution))
          .withMessageContaining("got %s in row 1", VOCABULARY)
          .withCauseInstanceOf(NativeException.class);
    }
  }

  private static PatchableModel model() {
    return RandomModels.patchable(SMALL, Precision.FLOAT32, PatchableModelOptions.defaults(), 5);
  }
}
