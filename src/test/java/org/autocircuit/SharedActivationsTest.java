package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.autocircuit.model.Precision;
import org.autocircuit.patch.AblationType;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** What a circuit gives never depends on who used its source activations before. */
@ExtendWith(NativeScope.class)
class SharedActivationsTest {

  private static final int CIRCUITS = 12;
  private static final int THREADS = 16;
  private static final int SEQ = 5;

  @ParameterizedTest
  @EnumSource(
      value = Precision.class,
      names = {"FLOAT32", "BFLOAT16"})
  void bitsDoNotDependOnEarlierCallers(Precision precision) throws Exception {
    try (PatchableModel model = TestModels.patchable(precision, PatchableModelOptions.defaults())) {
      long[][] tokens = TestModels.tokens(3, SEQ, 1);
      for (AblationType type : List.of(AblationType.ZERO, AblationType.RESAMPLE)) {
        List<Masks> circuits = circuits(model);
        float[][][] fresh = new float[CIRCUITS][][];
        for (int i = 0; i < CIRCUITS; i++) {
          try (SourceActivations patch = activations(model, type)) {
            fresh[i] = model.logits(tokens, PatchContext.of(patch, circuits.get(i)));
          }
        }
        try (SourceActivations patch = activations(model, type)) {
          // Others first, with other prompts.
          for (Masks masks : circuits) {
            model.logits(TestModels.tokens(3, SEQ, 99), PatchContext.of(patch, masks));
          }
          check(model, tokens, patch, circuits, fresh);
          patch.trim();
          check(model, tokens, patch, circuits, fresh);
          ExecutorService pool = Executors.newFixedThreadPool(THREADS);
          try {
            List<Callable<float[][]>> calls = new ArrayList<>();
            for (int i = 0; i < 4 * CIRCUITS; i++) {
              Masks masks = circuits.get(i % CIRCUITS);
              calls.add(() -> model.logits(tokens, PatchContext.of(patch, masks)));
            }
            List<Future<float[][]>> results = pool.invokeAll(calls);
            for (int i = 0; i < results.size(); i++) {
              assertThat(results.get(i).get()).isDeepEqualTo(fresh[i % CIRCUITS]);
            }
          } finally {
            pool.shutdown();
          }
        }
      }
    }
  }

  private static SourceActivations activations(PatchableModel model, AblationType type) {
    return model.sourceAblations(TestModels.tokens(3, SEQ, 2), type);
  }

  /** The last circuit first. */
  private static void check(
      PatchableModel model,
      long[][] tokens,
      SourceActivations patch,
      List<Masks> circuits,
      float[][][] fresh) {
    for (int i = CIRCUITS - 1; i >= 0; i--) {
      assertThat(model.logits(tokens, PatchContext.of(patch, circuits.get(i))))
          .as("circuit %s", i)
          .isDeepEqualTo(fresh[i]);
    }
  }

  /** Circuits of 5 to 95 % of the edges, all others patched. */
  private static List<Masks> circuits(PatchableModel model) {
    List<Masks> circuits = new ArrayList<>();
    for (int i = 0; i < CIRCUITS; i++) {
      double kept = 0.05 + 0.9 * i / (CIRCUITS - 1);
      Random random = new Random(i);
      double[] values = new double[model.graph().maskSize()];
      Arrays.setAll(values, edge -> random.nextDouble() < kept ? 0 : 1);
      circuits.add(Masks.of(model.graph(), values));
    }
    return circuits;
  }
}
