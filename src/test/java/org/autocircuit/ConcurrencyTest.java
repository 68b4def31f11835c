package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;
import static org.assertj.core.api.Assertions.within;
import static org.autocircuit.RandomModels.SMALL;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.mode.MaskFnMode;
import org.autocircuit.mode.PatchMode;
import org.autocircuit.mode.TrainMaskMode;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.MaskParameters;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** One model, many threads, different circuits at once; closing under way; threads of a call. */
@Tag("slow")
class ConcurrencyTest {

  /** Four times as many as the presets' OpenBLAS is built for. */
  private static final int THREADS = 256;

  private static final int CALLERS = 8;
  private static final TransformerConfig WIDE = RandomModels.config(3, 128, 4, 32, 512, 200, 40);

  private static final int CIRCUITS = 64;
  private static final int ROUNDS = 3;
  private static final AnswerLoss LOSS =
      AnswerLoss.of(
          GradFunction.LOGIT,
          AnswerFunction.AVG_DIFF,
          new long[][] {{3}, {1}},
          new long[][] {{2}, {8}});

  private final int threadsBefore = Threads.get();

  @BeforeEach
  void oneThreadForEachCall() {
    Threads.set(1);
  }

  @AfterEach
  void asBefore() {
    Threads.set(threadsBefore);
  }

  private static PatchableModel model() {
    return model(SMALL);
  }

  private static PatchableModel model(TransformerConfig config) {
    return RandomModels.patchable(config, Precision.FLOAT32, PatchableModelOptions.defaults(), 5);
  }

  /** Everything that one request of a server might do, of its own circuit, with two prompts. */
  private static List<double[]> request(
      PatchableModel model, TransformerConfig config, SourceActivations shared, int number) {
    List<double[]> results = new ArrayList<>();
    int seq = Math.toIntExact(shared.tensor().size(2));
    try (PointerScope scope = new PointerScope();
        MaskParameters parameters = model.newMaskParameters()) {
      Tensor tokens = RandomModels.tokens(config, 2, seq, 100 + number);
      double[] values = RandomModels.masks(model.graph(), number);
      Masks masks = Masks.of(model.graph(), values);
      results.add(TensorArrays.doubles(model.forward(tokens, PatchContext.NONE)));
      results.add(TensorArrays.doubles(model.forward(tokens, PatchContext.of(shared, masks))));
      try (SourceActivations own = model.sourceAblations(tokens, BatchAblation.RESAMPLE)) {
        results.add(
            TensorArrays.doubles(
                model.maskGradient(tokens, PatchContext.of(shared, masks), LOSS).gradient()));
        parameters.set(values);
        try (PatchMode patching = model.patchMode(own, parameters);
            MaskFnMode function =
                model.maskFnMode(MaskFn.HARD_CONCRETE, 0.2, Noise.seeded(number, 0));
            TrainMaskMode training = model.trainMaskMode(parameters)) {
          Tensor other = RandomModels.tokens(config, 2, seq, 200 + number);
          Tensor logits = model.forward(other);
          logits.mul(logits).sum().backward();
          results.add(TensorArrays.doubles(logits));
        }
        results.add(parameters.gradientArray());
      }
    }
    return results;
  }

  private static <T> List<T> together(List<Callable<T>> calls)
      throws InterruptedException, ExecutionException {
    ExecutorService pool = Executors.newFixedThreadPool(calls.size());
    try {
      CyclicBarrier start = new CyclicBarrier(calls.size());
      List<Future<T>> running = new ArrayList<>();
      for (Callable<T> call : calls) {
        running.add(
            pool.submit(
                () -> {
                  start.await();
                  return call.call();
                }));
      }
      List<T> results = new ArrayList<>();
      for (Future<T> each : running) {
        results.add(each.get());
      }
      return results;
    } finally {
      pool.shutdownNow();
    }
  }

  @Test
  void manyThreadsComputeBitForBitWhatOneDoes() throws Exception {
    try (PointerScope scope = new PointerScope();
        PatchableModel model = model();
        SourceActivations shared =
            model.sourceAblations(RandomModels.tokens(SMALL, 2, 5, 1), BatchAblation.RESAMPLE)) {
      List<List<double[]>> alone = new ArrayList<>();
      for (int i = 0; i < THREADS; i++) {
        alone.add(request(model, SMALL, shared, i));
      }
      assertRequestsTogetherGive(alone, model, SMALL, shared);
      assertThat(model.openScopes()).isEmpty();
      assertThat(alone.get(0).get(1)).isNotEqualTo(alone.get(1).get(1));
    }
  }

  /** Large enough that each step of a pass is divided among threads. */
  @ParameterizedTest
  @ValueSource(ints = {2, 3, 4})
  void threadsOfAPassComputeTheSameBitsEachTime(int threads) throws Exception {
    try (PointerScope scope = new PointerScope();
        PatchableModel model = model(WIDE);
        SourceActivations shared =
            model.sourceAblations(RandomModels.tokens(WIDE, 2, 40, 1), BatchAblation.RESAMPLE)) {
      List<List<double[]>> withOneThread = new ArrayList<>();
      for (int i = 0; i < CALLERS; i++) {
        withOneThread.add(request(model, WIDE, shared, i));
      }
      Threads.set(threads);
      List<List<double[]>> alone = new ArrayList<>();
      for (int i = 0; i < CALLERS; i++) {
        alone.add(request(model, WIDE, shared, i));
        for (int part = 0; part < alone.get(i).size(); part++) {
          double[] expected = withOneThread.get(i).get(part);
          double largest = Arrays.stream(expected).map(Math::abs).max().orElseThrow();
          assertThat(alone.get(i).get(part))
              .as("request %d, result %d", i, part)
              .containsExactly(expected, within(1e-4 * largest));
        }
      }
      assertRequestsTogetherGive(alone, model, WIDE, shared);
    }
  }

  private static void assertRequestsTogetherGive(
      List<List<double[]>> expected,
      PatchableModel model,
      TransformerConfig config,
      SourceActivations shared)
      throws Exception {
    List<Callable<Boolean>> calls = new ArrayList<>();
    for (int i = 0; i < expected.size(); i++) {
      int number = i;
      calls.add(
          () -> {
            for (int round = 0; round < ROUNDS; round++) {
              List<double[]> results = request(model, config, shared, number);
              for (int part = 0; part < results.size(); part++) {
                assertThat(results.get(part))
                    .as("thread %d, round %d, result %d", number, round, part)
                    .isEqualTo(expected.get(number).get(part));
              }
            }
            return true;
          });
    }
    assertThat(together(calls)).containsOnly(true);
  }

  /** Circuits of few edges take the short way from the fully patched run, which they share. */
  @ParameterizedTest
  @EnumSource(
      value = BatchAblation.class,
      names = {"RESAMPLE", "ZERO"})
  void circuitsOnManyThreadsShareWhatTheActivationsRemember(BatchAblation type) throws Exception {
    long[][] prompts = RandomModels.prompts(SMALL, 2, 5, 1);
    try (PatchableModel model = model();
        SourceActivations unshared = withoutMemory(model, prompts, type)) {
      List<Masks> circuits = new ArrayList<>();
      List<float[][]> alone = new ArrayList<>();
      for (int i = 0; i < CIRCUITS; i++) {
        double[] kept =
            Masks.ofEdges(TestModels.circuit(model.graph(), i % 3 == 2 ? 0.9 : 0.03, i)).toArray();
        double[] patched = Arrays.stream(kept).map(mask -> 1 - mask).toArray();
        circuits.add(Masks.of(model.graph(), patched));
        alone.add(
            model.logits(
                RandomModels.prompts(SMALL, 2, 5, 100 + i),
                PatchContext.of(unshared, circuits.get(i))));
      }
      assertThat(Arrays.deepEquals(alone.get(0), alone.get(2))).isFalse();
      for (int round = 0; round < ROUNDS; round++) {
        // Anew, so that threads race for who makes what of zeros is not known yet.
        try (SourceActivations shared = model.sourceAblations(prompts, type)) {
          List<Callable<Boolean>> calls = new ArrayList<>();
          for (int i = 0; i < CIRCUITS; i++) {
            int number = i;
            calls.add(
                () -> {
                  long[][] own = RandomModels.prompts(SMALL, 2, 5, 100 + number);
                  PatchContext context = PatchContext.of(shared, circuits.get(number));
                  assertClose(number, model.logits(own, context), alone.get(number));
                  assertClose(number, model.logits(own, context), alone.get(number));
                  return true;
                });
          }
          assertThat(together(calls)).containsOnly(true);
        }
      }
    }
  }

  private static SourceActivations withoutMemory(
      PatchableModel model, long[][] prompts, BatchAblation type) {
    try (PointerScope scope = new PointerScope();
        SourceActivations made = model.sourceAblations(prompts, type)) {
      return SourceActivations.of(made.tensor().contiguous().clone());
    }
  }

  private static void assertClose(int number, float[][] actual, float[][] expected) {
    for (int row = 0; row < expected.length; row++) {
      assertThat(actual[row])
          .as("circuit %d, row %d", number, row)
          .containsExactly(expected[row], within(1e-4f));
    }
  }

  /** Notes that a call has looked at it: from then on the call runs, and is not to be refused. */
  private static final class Seen extends Tensor {

    private boolean seen;

    Seen(Tensor tensor) {
      super((Pointer) tensor);
    }

    @Override
    public long[] shape() {
      seen = true;
      return super.shape();
    }
  }

  @Test
  void closingRacesForwards() throws Exception {
    AtomicInteger refused = new AtomicInteger();
    AtomicInteger refusedRunning = new AtomicInteger();
    AtomicInteger finished = new AtomicInteger();
    try (PointerScope scope = new PointerScope()) {
      Tensor tokens = RandomModels.tokens(SMALL, 2, 5, 1);
      for (int round = 0; round < 150; round++) {
        PatchableModel model = model();
        SourceActivations activations = model.sourceAblations(tokens, BatchAblation.RESAMPLE);
        PatchContext context = PatchContext.of(activations, Masks.uniform(model.graph(), 0.5));
        double[] expected = TensorArrays.doubles(model.forward(tokens, context));
        Callable<Boolean> forwards =
            () -> {
              while (true) {
                try (PointerScope own = new PointerScope()) {
                  Seen input = new Seen(tokens);
                  try {
                    double[] logits = TensorArrays.doubles(model.forward(input, context));
                    if (!Arrays.equals(logits, expected)) {
                      return false;
                    }
                    finished.incrementAndGet();
                  } catch (IllegalStateException e) {
                    assertThat(e).hasMessageContaining("closed");
                    (input.seen ? refusedRunning : refused).incrementAndGet();
                    return true;
                  }
                }
              }
            };
        int pause = round % 5;
        Callable<Boolean> closeModel =
            () -> {
              LockSupport.parkNanos(200_000L * pause);
              model.close();
              return true;
            };
        Callable<Boolean> closeActivations =
            () -> {
              LockSupport.parkNanos(300_000L * pause);
              activations.close();
              return true;
            };
        assertThat(together(List.of(forwards, forwards, forwards, closeModel, closeActivations)))
            .containsOnly(true);
        assertThat(model.isClosed()).isTrue();
      }
    }
    assertThat(refusedRunning).as("calls that were running and refused").hasValue(0);
    assertThat(refused).as("calls that came too late").hasValue(3 * 150);
    assertThat(finished.get()).isGreaterThan(150);
  }

  @Test
  void defaultMasksBelongToTheThreadThatMadeTheModel() throws Exception {
    try (PatchableModel model = model();
        SourceActivations activations =
            model.sourceAblations(RandomModels.prompts(SMALL, 1, 3, 1), BatchAblation.RESAMPLE)) {
      Callable<Throwable> call =
          () ->
              catchThrowable(
                  () -> {
                    try (PatchMode mode = model.patchMode(activations)) {
                      model.logits(RandomModels.prompts(SMALL, 1, 3, 1));
                    }
                  });
      assertThat(together(List.of(call)).get(0))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("thread");
      assertThat(model.openScopes()).isEmpty();
    }
  }

  @Test
  void aScopeIsClosedOnlyOnItsThread() throws Exception {
    try (PatchableModel model = model();
        SourceActivations activations =
            model.sourceAblations(RandomModels.prompts(SMALL, 1, 3, 1), BatchAblation.RESAMPLE);
        PatchMode mode = model.patchMode(activations, Masks.uniform(model.graph(), 1))) {
      Callable<Throwable> call = () -> catchThrowable(mode::close);
      assertThat(together(List.of(call)).get(0))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("patchMode")
          .hasMessageContaining(Thread.currentThread().getName());
      assertThat(mode.isOpen()).isTrue();
    }
  }

  @Test
  void twoThreadsMayCloseOneModel() throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(2);
    try {
      for (int round = 0; round < 50; round++) {
        PatchableModel model = model();
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
  void threadsOfACallAreOneSettingOfTheProcess() throws Exception {
    ExecutorService warm = Executors.newFixedThreadPool(2);
    try (PatchableModel model = model()) {
      // LibTorch's own count of a thread, after its call of ours.
      Callable<Integer> call =
          () -> {
            model.logits(RandomModels.prompts(SMALL, 1, 3, 1));
            return torch.get_num_threads();
          };
      for (int threads : new int[] {2, 1, 2}) {
        Threads.set(threads);
        assertThat(Threads.get()).isEqualTo(threads);
        for (Future<Integer> seen : warm.invokeAll(List.of(call, call))) {
          assertThat(seen.get()).isEqualTo(threads);
        }
        assertThat(warm.submit(Threads::get).get()).isEqualTo(threads);
      }
    } finally {
      warm.shutdownNow();
    }
  }
}
