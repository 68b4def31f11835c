package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import java.util.Arrays;
import java.util.List;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.exception.NativeException;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.junit.jupiter.api.Test;

/** From what users call to native code it is three calls of Java at most: no layer passes on. */
class NativeCallTest {

  private static final long[][] OUTSIDE = {{TestModels.CONFIG.dVocab(), 0, 0}};

  @Test
  void threeHopsLeadToNativeCode() {
    try (PointerScope scope = new PointerScope();
        PatchableModel model = TestModels.patchable();
        SourceActivations activations =
            model.sourceAblations(TestModels.tokens(1, 3, 1), BatchAblation.RESAMPLE)) {
      PatchContext context = PatchContext.of(activations, Masks.uniform(model.graph(), 0.5));
      AnswerLoss loss =
          AnswerLoss.of(
              GradFunction.LOGIT, AnswerFunction.AVG_VAL, new long[][] {{1}}, new long[][] {{2}});
      ModelInput outside = ModelInput.ofPrompts(OUTSIDE, "cpu");
      assertHops(() -> model.logits(OUTSIDE, context), "logits");
      assertHops(() -> model.maskGradient(OUTSIDE, context, loss), "maskGradient");
      assertHops(() -> model.incrementalRun(outside, context), "incrementalRun");
      assertHops(() -> model.sourceAblations(OUTSIDE, BatchAblation.RESAMPLE), "sourceAblations");
    }
  }

  /** Native code refuses the token, so its stack shows the way there. */
  private static void assertHops(ThrowingCallable call, String method) {
    Throwable failure = catchThrowable(call);
    assertThat(failure).isInstanceOf(IllegalArgumentException.class);
    assertThat(failure.getCause()).isInstanceOf(NativeException.class);
    List<String> frames =
        Arrays.stream(failure.getCause().getStackTrace())
            .map(frame -> frame.getClassName() + "." + frame.getMethodName())
            .takeWhile(frame -> !frame.startsWith(NativeCallTest.class.getName()))
            .toList();
    assertThat(frames).hasSizeBetween(3, 4);
    assertThat(frames.get(0)).startsWith("org.autocircuit.internal.jni.NativeLibrary.");
    assertThat(frames.get(frames.size() - 1)).isEqualTo("org.autocircuit.PatchableModel." + method);
  }
}
