package org.autocircuit.patch;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.function.Supplier;
import org.autocircuit.NativeScope;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.TestModels;
import org.autocircuit.model.Precision;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Tests that a circuit's results never depend on who used its source activations before. */
@ExtendWith(NativeScope.class)
class SharedActivationsTest {

  private static final int CIRCUITS = 10;
  private static final int THREADS = 64;
  private static final int SEQ = 5;

  /** Some prompts in one circuit. */
  private record Request(int prompts, Masks masks) {

    float[][] run(PatchableModel model, SourceActivations patch) {
      return logits(model, patch, prompts);
    }

    /** Asks what somebody else may have asked before. */
    void runOthers(PatchableModel model, SourceActivations patch) {
      logits(model, patch, 1000 + prompts);
    }

    private float[][] logits(PatchableModel model, SourceActivations patch, long seed) {
      return model.logits(TestModels.tokens(prompts, SEQ, seed), PatchContext.of(patch, masks));
    }
  }

  /** A request, and what it gets from activations that nobody has used. */
  @SuppressWarnings("ArrayRecordComponent") // never compared
  private record Expected(Request request, float[][] logits) {}

  @ParameterizedTest
  @EnumSource(
      value = Precision.class,
      names = {"FLOAT32", "BFLOAT16"})
  void bitsDoNotDependOnEarlierCallers(Precision precision) throws Exception {
    int[] any = {1, 3, 8};
    try (PatchableModel model = TestModels.patchable(precision, PatchableModelOptions.defaults())) {
      for (BatchAblation type :
          List.of(
              BatchAblation.ZERO,
              BatchAblation.RESAMPLE,
              BatchAblation.BATCH_TOKENWISE_MEAN,
              BatchAblation.BATCH_ALL_TOK_MEAN)) {
        long[][] three = TestModels.tokens(3, SEQ, 2);
        check(model, "three of " + type, () -> model.sourceAblations(three, type), 3);
        // Those of a single prompt are everybody's.
        long[][] one = {three[0]};
        check(model, "one of " + type, () -> model.sourceAblations(one, type), any);
      }
      DatasetAblation mean = DatasetAblation.TOKENWISE_MEAN_CORRUPT;
      check(
          model,
          "" + mean,
          () -> model.sourceAblations(List.of(TestModels.batch(3, SEQ, 4)), mean),
          any);
    }
  }

  private static void check(
      PatchableModel model, String name, Supplier<SourceActivations> activations, int... sizes)
      throws Exception {
    List<Expected> expected = new ArrayList<>();
    for (Masks circuit : circuits(model)) {
      for (int prompts : sizes) {
        Request request = new Request(prompts, circuit);
        try (SourceActivations fresh = activations.get()) {
          expected.add(new Expected(request, request.run(model, fresh)));
        }
      }
    }
    try (SourceActivations patch = activations.get()) {
      expected.forEach(each -> each.request.runOthers(model, patch));
      assertSame(name + ", used by others", model, patch, expected);
      patch.trim();
      Collections.reverse(expected);
      assertSame(name + ", trimmed", model, patch, expected);
      patch.trim();
      assertSameAtOnce(name + ", by " + THREADS + " threads", model, patch, expected);
    }
  }

  private static void assertSame(
      String name, PatchableModel model, SourceActivations patch, List<Expected> expected) {
    for (Expected each : expected) {
      assertThat(each.request.run(model, patch)).as(name).isDeepEqualTo(each.logits);
    }
  }

  /** All requests, each beside one of somebody else. */
  private static void assertSameAtOnce(
      String name, PatchableModel model, SourceActivations patch, List<Expected> expected)
      throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(THREADS);
    try {
      List<Callable<float[][]>> calls = new ArrayList<>();
      for (int i = 0; i < 2 * THREADS; i++) {
        Request request = expected.get(i % expected.size()).request;
        calls.add(
            () -> {
              request.runOthers(model, patch);
              return request.run(model, patch);
            });
      }
      List<Future<float[][]>> results = pool.invokeAll(calls);
      for (int i = 0; i < results.size(); i++) {
        assertThat(results.get(i).get())
            .as(name)
            .isDeepEqualTo(expected.get(i % expected.size()).logits);
      }
    } finally {
      pool.shutdown();
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
