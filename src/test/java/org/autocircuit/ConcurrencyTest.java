package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.patch.AblationType;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.MaskParameters;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.PatchMode;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.patch.TrainMaskMode;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

class ConcurrencyTest {

  private static final int THREADS = 16;
  private static int threadsBefore;

  @BeforeAll
  static void oneThreadForEachCall() {
    threadsBefore = Threads.get();
    Threads.set(1);
  }

  @AfterAll
  static void restoreThreads() {
    Threads.set(threadsBefore);
  }

  @Test
  void sixteenThreadsWithDifferentCircuitsGiveWhatOneThreadGives() throws Exception {
    try (PatchableModel model = TestModels.patchable();
        SourceActivations patch =
            model.sourceAblations(TestModels.tokens(3, 6, 2), AblationType.RESAMPLE)) {
      List<float[][]> expected = new ArrayList<>();
      for (int thread = 0; thread < THREADS; thread++) {
        expected.add(work(model, patch, thread));
      }
      ExecutorService pool = Executors.newFixedThreadPool(THREADS);
      try {
        CountDownLatch start = new CountDownLatch(1);
        List<Future<Boolean>> results = new ArrayList<>();
        for (int thread = 0; thread < THREADS; thread++) {
          int seed = thread;
          results.add(
              pool.submit(
                  () -> {
                    start.await();
                    boolean same = true;
                    for (int round = 0; round < 10; round++) {
                      same &= Arrays.deepEquals(work(model, patch, seed), expected.get(seed));
                    }
                    return same;
                  }));
        }
        start.countDown();
        for (Future<Boolean> result : results) {
          assertThat(result.get()).isTrue();
        }
        assertThat(model.openScopes()).isEmpty();
      } finally {
        pool.shutdownNow();
      }
    }
  }

  /** A context, a mode, a sampled pass and a gradient, each with this thread's own circuit. */
  private static float[][] work(PatchableModel model, SourceActivations patch, int seed) {
    long[][] tokens = TestModels.tokens(3, 6, 100 + seed);
    EdgeSet circuit = TestModels.circuit(model.graph(), 0.1 + 0.05 * seed, seed);
    PatchContext context =
        PatchContext.builder(patch, Masks.ofEdges(circuit))
            .maskFn(seed % 2 == 0 ? MaskFn.NONE : MaskFn.HARD_CONCRETE)
            .noise(Noise.seeded(seed, 1))
            .build();
    List<float[]> results = new ArrayList<>(Arrays.asList(model.logits(tokens, context)));
    try (PatchMode mode = model.patchMode(patch, Masks.allBut(circuit))) {
      results.addAll(Arrays.asList(model.logits(tokens)));
    }
    try (PointerScope scope = new PointerScope();
        MaskParameters masks = model.newMaskParameters();
        TrainMaskMode train = model.trainMaskMode(masks);
        PatchMode mode = model.patchMode(patch, masks)) {
      masks.setEdges(circuit);
      Tensor logits = model.forward(TensorArrays.of(tokens, "tokens", "cpu"));
      logits.sum().backward();
      results.add(TensorArrays.floats(masks.gradients()));
    }
    return results.toArray(float[][]::new);
  }

  @Test
  void closingRacesRunningPasses() throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(5);
    try {
      for (int round = 0; round < 25; round++) {
        PatchableModel model = TestModels.patchable();
        SourceActivations patch =
            model.sourceAblations(TestModels.tokens(2, 5, 2), AblationType.RESAMPLE);
        PatchContext context = PatchContext.of(patch, Masks.uniform(model.graph(), 0.5));
        float[][] expected = model.logits(TestModels.tokens(2, 5, 3), context);
        AtomicInteger passes = new AtomicInteger();
        Callable<Boolean> runner =
            () -> {
              while (true) {
                try {
                  float[][] logits = model.logits(TestModels.tokens(2, 5, 3), context);
                  if (!Arrays.deepEquals(logits, expected)) {
                    return false;
                  }
                  passes.incrementAndGet();
                } catch (IllegalStateException e) {
                  return e.getMessage().endsWith("is closed");
                }
              }
            };
        List<Future<Boolean>> runners = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
          runners.add(pool.submit(runner));
        }
        boolean activationsFirst = round % 2 == 0;
        Future<?> closer =
            pool.submit(
                () -> {
                  while (passes.get() < 10) {
                    Thread.onSpinWait();
                  }
                  if (activationsFirst) {
                    patch.close();
                  } else {
                    model.close();
                  }
                });
        closer.get();
        for (Future<Boolean> result : runners) {
          assertThat(result.get()).isTrue();
        }
        patch.close();
        model.close();
      }
    } finally {
      pool.shutdownNow();
    }
  }

  @Test
  void twoThreadsMayCloseOneModel() throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(2);
    try {
      for (int round = 0; round < 50; round++) {
        PatchableModel model = TestModels.patchable();
        Future<?> first = pool.submit(model::close);
        Future<?> second = pool.submit(model::close);
        first.get();
        second.get();
        assertThat(model.isClosed()).isTrue();
      }
    } finally {
      pool.shutdownNow();
    }
  }

  @Test
  void threadsOfACallAreOneSettingOfTheProcess() {
    Threads.set(2);
    assertThat(Threads.get()).isEqualTo(2);
    Threads.set(1);
    assertThat(Threads.get()).isEqualTo(1);
  }
}
