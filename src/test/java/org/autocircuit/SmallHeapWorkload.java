package org.autocircuit;

import java.nio.file.Path;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.attribution.MaskGradientResult;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;

/** Runs for MemoryLimitsTest: loads, patches and attributes a large model. */
final class SmallHeapWorkload {

  private SmallHeapWorkload() {}

  /** Prints {@code gradient} and its largest value, or the exception that loading threw. */
  public static void main(String[] arguments) {
    long[][] prompts = {{1, 2, 3}};
    try (PatchableModel model = PatchableModel.open(Path.of(arguments[0]))) {
      for (int round = 0; round < 20; round++) {
        try (SourceActivations activations =
                model.sourceAblations(new long[][] {{3, 2, 1}}, BatchAblation.RESAMPLE);
            PointerScope scope = new PointerScope()) {
          MaskGradientResult result =
              model.maskGradient(
                  prompts,
                  PatchContext.of(activations, Masks.uniform(model.graph(), 0)),
                  AnswerLoss.of(
                      GradFunction.LOGIT,
                      AnswerFunction.AVG_DIFF,
                      new long[][] {{1}},
                      new long[][] {{2}}));
          if (round == 0) {
            System.out.println("gradient " + result.gradient().abs().max().item_double());
          }
        }
      }
    } catch (IllegalStateException e) {
      System.out.println(e.getClass().getSimpleName() + ": " + e.getMessage());
    }
  }
}
