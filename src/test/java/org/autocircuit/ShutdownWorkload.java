package org.autocircuit;

import java.util.concurrent.CountDownLatch;
import org.autocircuit.AnswerLoss.AnswerFunction;
import org.autocircuit.AnswerLoss.GradFunction;
import org.autocircuit.model.Precision;
import org.autocircuit.patch.AblationType;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;

/** What ShutdownTest runs: the JVM ends while threads are inside passes. */
final class ShutdownWorkload {

  private static final int THREADS = 4;
  private static final int PASSES_BEFORE = 20;

  private ShutdownWorkload() {}

  /** Prints what the threads' next calls throw. */
  public static void main(String[] arguments) throws InterruptedException {
    PatchableModel model =
        TestModels.patchable(Precision.FLOAT32, PatchableModelOptions.defaults());
    long[][] prompts = {{1, 2, 3, 4}};
    SourceActivations patch =
        model.sourceAblations(new long[][] {{4, 3, 2, 1}}, AblationType.RESAMPLE);
    PatchContext context = PatchContext.of(patch, Masks.uniform(model.graph(), 0.5));
    AnswerLoss loss =
        AnswerLoss.of(
            GradFunction.LOGIT, AnswerFunction.AVG_DIFF, new long[][] {{1}}, new long[][] {{2}});
    CountDownLatch passes = new CountDownLatch(THREADS * PASSES_BEFORE);
    for (int i = 0; i < THREADS; i++) {
      Thread thread =
          new Thread(
              () -> {
                try {
                  while (true) {
                    try (PointerScope scope = new PointerScope()) {
                      model.maskGradient(prompts, context, loss);
                    }
                    passes.countDown();
                  }
                } catch (IllegalStateException e) {
                  System.out.println(e.getMessage());
                }
              });
      thread.setDaemon(true);
      thread.start();
    }
    passes.await();
    System.exit(0);
  }
}
