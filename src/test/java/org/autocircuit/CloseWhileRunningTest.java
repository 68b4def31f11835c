package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import java.util.AbstractCollection;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.DoubleStream;
import java.util.stream.Stream;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.attribution.EdgeAttribution;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.eval.CircuitMeasures;
import org.autocircuit.eval.CircuitRuns;
import org.autocircuit.eval.Logits;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.IncrementalRun;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.pass.PrefixCache;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.MaskParameters;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.patch.Use;
import org.autocircuit.prune.Acdc;
import org.autocircuit.prune.EdgeActivationPatching;
import org.autocircuit.prune.MaskGradient;
import org.autocircuit.prune.MaskTraining;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.SubnetworkProbing;
import org.autocircuit.sae.AutoencoderModels;
import org.autocircuit.sae.LatentPruning;
import org.autocircuit.train.IndirectObjectTraining;
import org.autocircuit.train.TrainingOptions;
import org.autocircuit.train.TrainingReport;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/**
 * Everything that a call needs is closed by another thread in the middle of the call, which
 * nevertheless returns what it returns otherwise. The next call is refused.
 */
class CloseWhileRunningTest {

  private static final AnswerLoss LOSS =
      AnswerLoss.of(
          GradFunction.LOGIT,
          AnswerFunction.AVG_DIFF,
          new long[][] {{3}, {1}},
          new long[][] {{2}, {8}});

  /** Says what is open when a call begins. */
  private static final class Opened implements AutoCloseable {

    final Model weights = RandomModels.model(RandomModels.SMALL, Precision.FLOAT64, 5);
    final PatchableModel plain = PatchableModel.of(weights, PatchableModelOptions.defaults());
    final PrefixCache prefix = plain.prefixOf(new long[][] {{4, 2}});
    final PatchableModel model = plain.withPrefix(prefix);
    final List<PromptPairBatch> batches =
        List.of(
            RandomModels.promptPairs(RandomModels.SMALL, 2, 4, 1),
            RandomModels.promptPairs(RandomModels.SMALL, 2, 4, 2),
            RandomModels.promptPairs(RandomModels.SMALL, 2, 4, 3));
    final Tensor tokens = RandomModels.tokens(RandomModels.SMALL, 2, 4, 1);
    final SourceActivations activations = model.sourceAblations(tokens, BatchAblation.RESAMPLE);
    final MaskParameters parameters = model.newMaskParameters();

    /** Closing returns at once, whoever computes. */
    @Override
    public void close() {
      CompletableFuture.runAsync(
              () -> {
                parameters.close();
                activations.close();
                prefix.close();
                model.close();
                weights.close();
                plain.close();
              })
          .orTimeout(10, TimeUnit.SECONDS)
          .join();
    }

    PruneScores scores() {
      double[] scores = new double[model.graph().maskSize()];
      Arrays.setAll(scores, i -> (i * 7919) % scores.length);
      return PruneScores.of(model.graph(), scores);
    }
  }

  /** A call, with something to do in its middle. */
  private interface Call {
    double[] result(Opened opened, Runnable middle);
  }

  /** A tensor that has something done when it is looked at. */
  private static final class Watched extends Tensor {

    private final Runnable look;
    private int looks;

    Watched(Tensor tensor, Runnable look) {
      super((Pointer) tensor);
      this.look = look;
    }

    @Override
    public long[] shape() {
      if (looks++ == 0) {
        look.run();
      }
      return super.shape();
    }
  }

  /** Batches that have something done before the second. */
  private static <T> Iterable<T> interrupted(List<T> items, Runnable middle) {
    return () ->
        new Iterator<>() {
          private int next;

          @Override
          public boolean hasNext() {
            return next < items.size();
          }

          @Override
          public T next() {
            if (next == 1) {
              middle.run();
            }
            return items.get(next++);
          }
        };
  }

  @TestFactory
  Stream<DynamicTest> aCallThatRunsFinishes() {
    Map<String, Call> calls =
        Map.ofEntries(
            Map.entry("a pass", CloseWhileRunningTest::pass),
            Map.entry("a patched pass", CloseWhileRunningTest::patchedPass),
            Map.entry("a gradient", CloseWhileRunningTest::gradient),
            Map.entry("an attribution", CloseWhileRunningTest::attribution),
            Map.entry("activations", CloseWhileRunningTest::activations),
            Map.entry("an incremental run", CloseWhileRunningTest::incrementalRun),
            Map.entry("a mean of batches", CloseWhileRunningTest::meanOfBatches),
            Map.entry("a mean of tensors", CloseWhileRunningTest::meanOfTensors),
            Map.entry("MaskGradient", CloseWhileRunningTest::maskGradient),
            Map.entry("MaskGradient of means", CloseWhileRunningTest::maskGradientOfMeans),
            Map.entry("EdgeActivationPatching", CloseWhileRunningTest::edgeActivationPatching),
            Map.entry("Acdc", CloseWhileRunningTest::acdc),
            Map.entry("Acdc, sequential", CloseWhileRunningTest::acdcSequential),
            Map.entry("Acdc of activations", CloseWhileRunningTest::acdcOfActivations),
            Map.entry("SubnetworkProbing", CloseWhileRunningTest::probing),
            Map.entry("CircuitRuns", CloseWhileRunningTest::circuitRuns),
            Map.entry("CircuitRuns of activations", CloseWhileRunningTest::circuitsOfActivations),
            Map.entry("CircuitMeasures", CloseWhileRunningTest::circuitMeasures),
            Map.entry("work of one's own", CloseWhileRunningTest::workOfOnesOwn));
    return calls.entrySet().stream()
        .map(call -> DynamicTest.dynamicTest(call.getKey(), () -> check(call.getValue())));
  }

  private static void check(Call call) {
    double[] expected;
    try (PointerScope scope = new PointerScope();
        Opened opened = new Opened()) {
      expected = call.result(opened, () -> {});
    }
    try (PointerScope scope = new PointerScope()) {
      Opened opened = new Opened();
      int[] closed = {0};
      double[] actual =
          call.result(
              opened,
              () -> {
                opened.close();
                closed[0]++;
              });
      assertThat(closed[0]).as("times that it was closed in the middle").isPositive();
      assertThat(actual).isEqualTo(expected);
      assertThatIllegalStateException()
          .isThrownBy(() -> opened.model.forward(opened.tokens))
          .withMessageContaining("closed");
      assertThatIllegalStateException()
          .isThrownBy(() -> opened.activations.tensor())
          .withMessageContaining("closed");
    }
  }

  private static double[] pass(Opened o, Runnable middle) {
    return TensorArrays.doubles(o.model.forward(new Watched(o.tokens, middle)));
  }

  /** The uniforms are looked at after the activations, and before the pass. */
  private static double[] patchedPass(Opened o, Runnable middle) {
    return TensorArrays.doubles(o.model.forward(o.tokens, context(o, middle)));
  }

  private static PatchContext context(Opened o, Runnable middle) {
    Tensor half =
        o.activations
            .tensor()
            .new_full(new long[] {2, o.model.graph().maskSize()}, new Scalar(0.5));
    return PatchContext.builder(o.activations, o.parameters)
        .maskFn(MaskFn.HARD_CONCRETE)
        .noise(Noise.uniforms(new Watched(half, middle)))
        .build();
  }

  private static double[] gradient(Opened o, Runnable middle) {
    return TensorArrays.doubles(
        o.model.maskGradient(o.tokens, context(o, middle), LOSS).gradient());
  }

  private static double[] attribution(Opened o, Runnable middle) {
    ModelInput clean = ModelInput.of(new Watched(o.tokens, middle)).withPrefix(o.prefix);
    return TensorArrays.doubles(
        o.model.maskGradient(EdgeAttribution.of(clean, o.activations, LOSS)).gradient());
  }

  private static double[] activations(Opened o, Runnable middle) {
    try (SourceActivations made =
        o.model.sourceAblations(new Watched(o.tokens, middle), BatchAblation.RESAMPLE)) {
      return TensorArrays.doubles(made.tensor());
    }
  }

  private static double[] incrementalRun(Opened o, Runnable middle) {
    PatchContext context = PatchContext.of(o.activations, Masks.uniform(o.model.graph(), 1));
    try (IncrementalRun run =
        o.model.incrementalRun(
            ModelInput.of(new Watched(o.tokens, middle)), context, OutputSlice.ALL)) {
      return TensorArrays.doubles(run.logits());
    }
  }

  private static double[] meanOfBatches(Opened o, Runnable middle) {
    try (SourceActivations mean =
        o.model.sourceAblations(
            interrupted(o.batches, middle), DatasetAblation.TOKENWISE_MEAN_CLEAN_AND_CORRUPT)) {
      return TensorArrays.doubles(mean.tensor());
    }
  }

  private static double[] meanOfTensors(Opened o, Runnable middle) {
    List<Tensor> inputs = List.of(o.tokens, RandomModels.tokens(RandomModels.SMALL, 1, 4, 7));
    try (SourceActivations mean =
        o.model.sourceAblations(
            inputs, interrupted(inputs, middle), DatasetAblation.TOKENWISE_MEAN_CORRUPT)) {
      return TensorArrays.doubles(mean.tensor());
    }
  }

  private static double[] maskGradient(Opened o, Runnable middle) {
    return MaskGradient.builder()
        .integratedGradSamples(2)
        .build()
        .pruneScores(o.model, o.batches, (done, total) -> onceAt(1, done, middle))
        .toArray();
  }

  private static double[] maskGradientOfMeans(Opened o, Runnable middle) {
    return MaskGradient.builder()
        .ablation(DatasetAblation.TOKENWISE_MEAN_CORRUPT)
        .build()
        .pruneScores(o.model, o.batches, (done, total) -> onceAt(1, done, middle))
        .toArray();
  }

  private static double[] edgeActivationPatching(Opened o, Runnable middle) {
    return EdgeActivationPatching.builder()
        .build()
        .pruneScores(o.model, o.batches, (done, total) -> onceAt(3, done, middle))
        .toArray();
  }

  private static Acdc.Builder acdc(Runnable middle) {
    return Acdc.builder()
        .thresholds(0.1, 0.01)
        .listener(decision -> onceAt(3, decision.done(), middle));
  }

  private static double[] acdc(Opened o, Runnable middle) {
    return acdc(middle).build().pruneScores(o.model, List.of(o.batches.get(0))).toArray();
  }

  private static double[] acdcSequential(Opened o, Runnable middle) {
    return acdc(middle)
        .sequential()
        .build()
        .pruneScores(o.model, List.of(o.batches.get(0)))
        .toArray();
  }

  private static double[] acdcOfActivations(Opened o, Runnable middle) {
    ModelInput clean = ModelInput.of(o.tokens).withPrefix(o.prefix);
    return acdc(middle).build().search(o.model, clean, o.activations).scores().toArray();
  }

  private static double[] probing(Opened o, Runnable middle) {
    try (MaskTraining probing = SubnetworkProbing.builder().build().begin(o.model, o.activations)) {
      probing.step(
          ModelInput.of(o.tokens),
          logits -> {
            middle.run();
            return logits.square().mean();
          });
      return probing.masks().toArray();
    }
  }

  private static CircuitRuns runs(Opened o, Runnable middle) {
    return CircuitRuns.builder(o.scores())
        .sizes(List.of(3, 20, 40))
        .progress((done, total) -> onceAt(2, done, middle))
        .build();
  }

  private static double[] circuitRuns(Opened o, Runnable middle) {
    Map<Integer, CircuitMeasures> measures = runs(o, middle).measure(o.model, o.batches);
    return measures.values().stream()
        .flatMapToDouble(each -> DoubleStream.of(each.klDivergence(), each.logitDifference()))
        .toArray();
  }

  private static double[] circuitsOfActivations(Opened o, Runnable middle) {
    List<Double> values = new ArrayList<>();
    ModelInput input = ModelInput.of(new Watched(o.tokens, middle)).withPrefix(o.prefix);
    for (Logits logits : runs(o, () -> {}).run(o.model, input, o.activations).values()) {
      values.add(logits.get(0, 2));
    }
    return values.stream().mapToDouble(Double::doubleValue).toArray();
  }

  private static double[] circuitMeasures(Opened o, Runnable middle) {
    List<PromptPairBatch> batches = new ArrayList<>(o.batches);
    CircuitMeasures measures =
        CircuitMeasures.ofModel(
            o.model,
            new AbstractCollection<>() {
              @Override
              public Iterator<PromptPairBatch> iterator() {
                return interrupted(batches, middle).iterator();
              }

              @Override
              public int size() {
                return batches.size();
              }
            });
    return new double[] {measures.logitDifference()};
  }

  private static double[] workOfOnesOwn(Opened o, Runnable middle) {
    try (Use use = o.model.use();
        Use patching = o.activations.use()) {
      middle.run();
      try (SourceActivations own = o.model.sourceAblations(o.tokens, BatchAblation.RESAMPLE)) {
        Masks masks = Masks.uniform(o.model.graph(), 0.5);
        o.model.masks().setAll(1);
        return DoubleStream.concat(
                Arrays.stream(
                    TensorArrays.doubles(
                        o.model.forward(o.tokens, PatchContext.of(o.activations, masks)))),
                Arrays.stream(
                    TensorArrays.doubles(o.model.forward(o.tokens, PatchContext.of(own, masks)))))
            .toArray();
      }
    }
  }

  private static void onceAt(long when, long done, Runnable action) {
    if (done == when) {
      action.run();
    }
  }

  @Test
  void aTrainingThatRunsFinishes() {
    TrainingReport expected = train(false);
    assertThat(train(true)).isEqualTo(expected);
  }

  private static TrainingReport train(boolean close) {
    TrainingOptions options =
        TrainingOptions.DEFAULT
            .withSteps(6, 3)
            .withAccuracyGoal(1)
            .withMeasureEvery(3)
            .withBatchSize(8)
            .withLearningRate(1e-3);
    try (IndirectObjectTraining training =
        new IndirectObjectTraining(IndirectObjectTraining.config(2, 32, 4), options)) {
      return training.run(
          (step, loss, coolingDown, scores) -> {
            if (close) {
              training.model().close();
            }
          });
    }
  }

  @Test
  void aPruningOfLatentsThatRunsFinishes() {
    assertThat(latents(true)).isEqualTo(latents(false));
  }

  private static double[] latents(boolean close) {
    List<PromptPairBatch> batches =
        List.of(
            RandomModels.promptPairs(RandomModels.SMALL, 2, 4, 1),
            RandomModels.promptPairs(RandomModels.SMALL, 2, 4, 2));
    try (PointerScope scope = new PointerScope();
        Model sparse = AutoencoderModels.model(RandomModels.SMALL, 9, Precision.FLOAT64, true, 3);
        Model pruned =
            LatentPruning.builder()
                .maxLatents(4)
                .build()
                .prune(
                    sparse,
                    batches,
                    (done, total) -> onceAt(1, done, close ? sparse::close : () -> {}))) {
      return TensorArrays.doubles(pruned.weights().get("blocks.1.hook_mlp_out.latent_bias"));
    }
  }
}
