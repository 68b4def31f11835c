package org.autocircuit.internal;

import static org.assertj.core.api.Assertions.assertThat;

import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.pass.PlanPolicy;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.prune.FaithfulnessTarget;
import org.junit.jupiter.api.Test;

/** The numbers that native code knows: those of bridge.h, answer_loss.h, model.h and mask_fn.h. */
class NativeCodesTest {

  @Test
  void constantsHaveTheNumbersOfNativeCode() {
    assertNumbers(OutputSlice.ALL, OutputSlice.LAST_SEQ, OutputSlice.NOT_FIRST_SEQ);
    assertNumbers(
        PlanPolicy.AUTO, PlanPolicy.REFERENCE, PlanPolicy.BUFFERED, PlanPolicy.FULLY_PATCHED);
    assertNumbers(MaskFn.NONE, MaskFn.SIGMOID, MaskFn.HARD_CONCRETE);
    assertNumbers(
        GradFunction.LOGIT, GradFunction.PROB, GradFunction.LOGPROB, GradFunction.LOGIT_EXP);
    assertNumbers(AnswerFunction.AVG_DIFF, AnswerFunction.AVG_VAL, AnswerFunction.MSE);
    assertNumbers(FaithfulnessTarget.KL_DIV, FaithfulnessTarget.MSE);
    assertNumbers(
        BatchAblation.RESAMPLE,
        BatchAblation.ZERO,
        BatchAblation.BATCH_TOKENWISE_MEAN,
        BatchAblation.BATCH_ALL_TOK_MEAN);
  }

  private static void assertNumbers(Enum<?>... constants) {
    for (int number = 0; number < constants.length; number++) {
      assertThat(NativeCodes.of(constants[number])).isEqualTo(number);
    }
  }
}
