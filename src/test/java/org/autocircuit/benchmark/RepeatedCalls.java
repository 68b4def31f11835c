package org.autocircuit.benchmark;

import java.util.Arrays;
import java.util.Random;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.RandomModels;
import org.autocircuit.Threads;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;

/**
 * Says what a pass with a circuit costs when its masks have been used before and when they are new,
 * in models with many edges and hardly any arithmetic: mostly what masks cost.
 */
final class RepeatedCalls {

  private static final int ROUNDS = 30;
  private static final double[] SHARES = {0.003, 0.03, 0.5};

  private RepeatedCalls() {}

  /** Prints the medians in milliseconds, of one thread. */
  public static void main(String[] arguments) {
    Threads.set(1);
    System.out.printf("%12s %9s %12s %12s%n", "edges", "circuit", "new masks", "used masks");
    measure(RandomModels.config(12, 24, 12, 2, 48, 16, 4));
    measure(RandomModels.config(40, 50, 25, 2, 100, 16, 4));
  }

  private static void measure(TransformerConfig config) {
    long[][] prompts = RandomModels.prompts(config, 1, 4, 1);
    try (PatchableModel model =
            RandomModels.patchable(config, Precision.FLOAT32, PatchableModelOptions.defaults(), 1);
        SourceActivations corrupt = model.sourceAblations(prompts, BatchAblation.RESAMPLE)) {
      int edges = model.graph().maskSize();
      for (double share : SHARES) {
        double[] values = new Random(1).doubles(edges).map(x -> x < share ? 0 : 1).toArray();
        Masks used = Masks.of(model.graph(), values);
        double again = median(() -> model.logits(prompts, PatchContext.of(corrupt, used)));
        double fresh =
            median(
                () ->
                    model.logits(
                        prompts, PatchContext.of(corrupt, Masks.of(model.graph(), values))));
        System.out.printf("%,12d %8.1f%% %12.3f %12.3f%n", edges, 100 * share, fresh, again);
      }
    }
  }

  private static double median(Runnable call) {
    double[] millis = new double[ROUNDS];
    for (int i = -5; i < ROUNDS; i++) {
      long start = System.nanoTime();
      call.run();
      millis[Math.max(i, 0)] = (System.nanoTime() - start) / 1e6;
    }
    Arrays.sort(millis);
    return millis[ROUNDS / 2];
  }
}
