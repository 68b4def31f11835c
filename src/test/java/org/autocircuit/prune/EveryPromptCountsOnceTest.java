package org.autocircuit.prune;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.within;

import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Objects;
import java.util.Random;
import java.util.function.Function;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.TestDevice;
import org.autocircuit.TestModels;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.data.PromptBatches;
import org.autocircuit.data.PromptDataset;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.eval.CircuitMeasures;
import org.autocircuit.eval.CircuitRuns;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.MicroModelConfig;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.PatchType;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.tokenizer.Tokenizer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Scores and measures are means over prompts, however these are cut into batches: each is compared
 * with a mean that the test takes itself, of prompts that run alone.
 */
class EveryPromptCountsOnceTest {

  private final PatchableModel model =
      TestModels.patchable(Precision.FLOAT64, PatchableModelOptions.defaults());
  private final Random random = new Random(14);

  @AfterEach
  void close() {
    model.close();
  }

  @Test
  void mixedLengthsAndNumbersOfAnswers() {
    List<PromptPairBatch> prompts = prompts(3, 4, 6);
    double[] expected =
        mean(prompts, prompt -> resampled(prompt, 0, loss(prompt, GradFunction.LOGIT)));
    for (int cut = 0; cut < 10; cut++) {
      assertClose(scores(MaskGradient.builder(), cut(prompts)), expected);
    }
  }

  @ParameterizedTest
  @EnumSource(GradFunction.class)
  void integrationPointsAreAveragedToo(GradFunction function) {
    List<PromptPairBatch> prompts = prompts(5);
    double[] expected =
        mean(
            prompts,
            prompt -> {
              AnswerLoss loss = loss(prompt, function);
              return mean(List.of(0, 1, 2, 3), i -> resampled(prompt, i / 3.0, loss));
            });
    for (int cut = 0; cut < 5; cut++) {
      MaskGradient.Builder builder =
          MaskGradient.builder().gradFunction(function).integratedGradSamples(3);
      List<PromptPairBatch> batches = cut(prompts);
      assertClose(scores(builder, batches), expected);
      // As little as one prompt takes, about.
      assertClose(scores(builder.memoryLimit(300_000), batches), expected);
    }
  }

  private static List<Ablation> ablationsWithoutPrompts() {
    return Ablation.values().stream()
        .filter(each -> each instanceof DatasetAblation || each == BatchAblation.ZERO)
        .toList();
  }

  @ParameterizedTest
  @MethodSource("ablationsWithoutPrompts")
  void ablations(Ablation type) {
    List<PromptPairBatch> prompts = prompts(5);
    try (SourceActivations patch = ablation(prompts, type)) {
      double[] expected =
          mean(prompts, prompt -> gradient(prompt, patch, 0.25, loss(prompt, GradFunction.LOGIT)));
      for (int cut = 0; cut < 5; cut++) {
        MaskGradient.Builder builder = MaskGradient.builder().ablation(type).maskValue(0.25);
        assertClose(scores(builder, cut(prompts)), expected);
      }
    }
  }

  @Test
  void targetsOfEachPrompt() {
    List<PromptPairBatch> prompts = prompts(5);
    try (PointerScope scope = new PointerScope()) {
      Function<PromptPairBatch, Tensor> targets =
          batch ->
              TensorArrays.of(batch.answers(), "answers", TestDevice.NAME)
                  .select(1, 0)
                  .unsqueeze(1)
                  .to(ScalarType.Double)
                  .mul(
                      torch
                          .ones(1, TestModels.CONFIG.dVocab())
                          .to(new Device(TestDevice.NAME), ScalarType.Double));
      double[] expected =
          mean(
              prompts,
              prompt ->
                  resampled(prompt, 0, AnswerLoss.mse(GradFunction.LOGIT, targets.apply(prompt))));
      for (int cut = 0; cut < 5; cut++) {
        assertClose(scores(MaskGradient.builder().targets(targets), cut(prompts)), expected);
      }
    }
  }

  @Test
  void theOriginalAddsUpMeansOfBatches() {
    List<PromptPairBatch> batches = cut(prompts(5));
    double[] expected = new double[model.graph().nEdges()];
    for (PromptPairBatch batch : batches) {
      for (double value : new double[] {0, 0.5, 1}) {
        double[] gradient = resampled(batch, value, loss(batch, GradFunction.LOGIT));
        Arrays.setAll(expected, i -> expected[i] + gradient[i]);
      }
    }
    MaskGradient.Builder builder = MaskGradient.builder().integratedGradSamples(2);
    assertClose(scores(builder.sumOfBatchMeans(), batches), expected);
  }

  @Test
  void magnitudes() {
    List<PromptPairBatch> prompts = prompts(3, 4, 6);
    ActivationMagnitude algorithm = new ActivationMagnitude();
    double[] expected = mean(prompts, this::magnitudes);
    for (int cut = 0; cut < 5; cut++) {
      assertClose(algorithm.pruneScores(model, cut(prompts)).toArray(), expected);
    }
    // The mean of two prompts is smaller than their mean magnitude where they differ in sign.
    List<PromptPairBatch> together = List.of(TestModels.together(prompts));
    double[] ofMean = algorithm.ofBatchMeans().pruneScores(model, together).toArray();
    assertThat(ofMean).isNotEqualTo(expected);
    for (int i = 0; i < ofMean.length; i++) {
      assertThat(ofMean[i]).isLessThan(expected[i] + 1e-11);
    }
  }

  private double[] magnitudes(PromptPairBatch prompt) {
    try (PointerScope scope = new PointerScope();
        SourceActivations clean = SourceActivations.of(sources(prompt.clean()))) {
      double[] scores = new double[model.graph().nEdges()];
      Arrays.setAll(
          scores,
          i -> {
            int src = model.graph().edge(i).src().srcIdx();
            double[] values = TensorArrays.doubles(clean.tensor().select(0, src).contiguous());
            return Math.abs(Arrays.stream(values).average().orElseThrow());
          });
      assertClose(ActivationMagnitude.of(model.graph(), clean).toArray(), scores);
      ModelGraph other = ModelGraph.of(new MicroModelConfig(2), true, true);
      assertThatIllegalArgumentException()
          .isThrownBy(() -> ActivationMagnitude.of(other, clean))
          .withMessageContaining("activations: expected those of");
      return scores;
    }
  }

  @Test
  void patchedEdgeByEdge() {
    List<PromptPairBatch> prompts = prompts(3, 4, 6);
    List<EdgeActivationPatching.Builder> losses =
        List.of(
            EdgeActivationPatching.builder(),
            EdgeActivationPatching.builder().loss(FaithfulnessTarget.KL_DIV),
            EdgeActivationPatching.builder().loss(FaithfulnessTarget.MSE));
    for (EdgeActivationPatching.Builder builder : losses) {
      EdgeActivationPatching patching = builder.build();
      double[] expected =
          mean(prompts, prompt -> patching.pruneScores(model, List.of(prompt)).toArray());
      for (int cut = 0; cut < 3; cut++) {
        assertClose(patching.pruneScores(model, cut(prompts)).toArray(), expected);
      }
    }
  }

  @Test
  void measuresOfCircuits() {
    List<PromptPairBatch> prompts = prompts(3, 4, 6);
    CircuitRuns circuits =
        CircuitRuns.builder(RandomPruneScores.of(model.graph(), 3))
            .sizes(List.of(40, 70))
            .patchType(PatchType.TREE_PATCH)
            .build();
    for (int size : circuits.circuits().keySet()) {
      double[] expected =
          mean(prompts, prompt -> numbers(circuits.measure(model, List.of(prompt)).get(size)));
      for (int cut = 0; cut < 5; cut++) {
        assertClose(numbers(circuits.measure(model, cut(prompts)).get(size)), expected);
      }
    }
  }

  /** At all positions, where a batch has padding that none of its prompts has. */
  @ParameterizedTest
  @EnumSource(FaithfulnessTarget.class)
  void divergencesOfPaddedPrompts(FaithfulnessTarget target) {
    for (OutputSlice slice : OutputSlice.values()) {
      PatchableModelOptions options = PatchableModelOptions.defaults().withOutputSlice(slice);
      try (PatchableModel all = TestModels.patchable(Precision.FLOAT64, options)) {
        List<PromptPairBatch> prompts = prompts(3, 4, 6);
        double[] expected = mean(prompts, prompt -> divergences(all, target, prompt));
        assertClose(divergences(all, target, TestModels.together(prompts)), expected);
      }
    }
  }

  /** Of the first edge that ACDC tests, and of masks as probing begins. */
  private static double[] divergences(
      PatchableModel model, FaithfulnessTarget target, PromptPairBatch batch) {
    List<Double> tested = new ArrayList<>();
    Acdc.builder()
        .faithfulnessTarget(target)
        .thresholds(1)
        .edgeOrder(List.of(model.graph().edge("MLP 0->Resid End")))
        .listener(decision -> tested.add(decision.divergence()))
        .build()
        .search(model, batch);
    try (SourceActivations corrupt =
            model.sourceAblations(batch.corrupt(), BatchAblation.RESAMPLE);
        MaskTraining probing =
            SubnetworkProbing.builder()
                .maskFn(MaskFn.SIGMOID)
                .faithfulnessTarget(target)
                .build()
                .begin(model, corrupt)) {
      return new double[] {tested.get(0), probing.step(batch).faithfulness()};
    }
  }

  /** 33 pairs, the last of them a copy of the first; in batches of 32 it is alone in the second. */
  @Test
  void aLonePromptOfTheTrainedModel() throws URISyntaxException {
    Path folder = resource(Model.class, "indirect-object/config.json").getParent();
    Path pairs = resource(getClass(), "thirty-three-pairs.json");
    try (PatchableModel trained = PatchableModel.open(folder);
        Tokenizer tokenizer = Tokenizer.load(folder)) {
      for (int size : new int[] {1, 5, 32, 33}) {
        List<PromptPairBatch> batches =
            PromptBatches.of(PromptDataset.read(pairs), tokenizer, size).batches();
        PruneScores scores = MaskGradient.builder().build().pruneScores(trained, batches);
        // From code of its own, in 64 bits.
        assertThat(scores.get("A3.4->Resid End"))
            .as("batches of %d", size)
            .isCloseTo(3.98997, within(1e-4));
      }
    }
  }

  /** Pairs of these lengths in turn, each of one to three answers and one or two wrong ones. */
  private List<PromptPairBatch> prompts(int... lengths) {
    List<PromptPairBatch> prompts = new ArrayList<>();
    for (int i = 0; i < 11; i++) {
      PromptPairBatch pair = TestModels.batch(1, lengths[i % lengths.length], 10L * i);
      prompts.add(
          new PromptPairBatch(
              pair.pairs(),
              pair.clean(),
              pair.corrupt(),
              TestModels.tokens(1, 1 + i % 3, i),
              TestModels.tokens(1, 1 + i % 2, i + 50)));
    }
    return prompts;
  }

  /** In random order, in random batches, in which models pad the shorter prompts. */
  private List<PromptPairBatch> cut(List<PromptPairBatch> prompts) {
    List<PromptPairBatch> shuffled = new ArrayList<>(prompts);
    Collections.shuffle(shuffled, random);
    List<PromptPairBatch> batches = new ArrayList<>();
    for (int from = 0, to; from < shuffled.size(); from = to) {
      to = Math.min(from + 1 + random.nextInt(6), shuffled.size());
      batches.add(TestModels.together(shuffled.subList(from, to)));
    }
    return batches;
  }

  private double[] scores(MaskGradient.Builder builder, List<PromptPairBatch> batches) {
    return builder.build().pruneScores(model, batches).toArray();
  }

  /** Zeros, or the mean over prompts that run alone. */
  private SourceActivations ablation(List<PromptPairBatch> prompts, Ablation type) {
    if (!(type instanceof DatasetAblation mean)) {
      return model.sourceAblations(prompts.get(0).corrupt(), BatchAblation.ZERO);
    }
    try (PointerScope scope = new PointerScope()) {
      List<Tensor> outputs = new ArrayList<>();
      for (PromptPairBatch prompt : prompts) {
        if (mean.clean()) {
          outputs.add(sources(prompt.clean()));
        }
        if (mean.corrupt()) {
          outputs.add(sources(prompt.corrupt()));
        }
      }
      double[] means = mean(outputs, TensorArrays::doubles);
      return SourceActivations.of(
          TensorArrays.of(means, ScalarType.Double, TestDevice.NAME, outputs.get(0).shape()));
    }
  }

  private Tensor sources(long[][] tokens) {
    ForwardRequest request = ForwardRequest.of(ModelInput.ofPrompts(tokens, TestDevice.NAME));
    return model.forward(request.withSourceOutputs()).sourceOutputs().orElseThrow();
  }

  private static AnswerLoss loss(PromptPairBatch batch, GradFunction function) {
    return AnswerLoss.of(function, AnswerFunction.AVG_DIFF, batch.answers(), batch.wrongAnswers());
  }

  private double[] resampled(PromptPairBatch batch, double value, AnswerLoss loss) {
    try (SourceActivations patch = model.sourceAblations(batch.corrupt(), BatchAblation.RESAMPLE)) {
      return gradient(batch, patch, value, loss);
    }
  }

  private double[] gradient(
      PromptPairBatch batch, SourceActivations patch, double value, AnswerLoss loss) {
    try (PointerScope scope = new PointerScope()) {
      PatchContext context = PatchContext.of(patch, Masks.uniform(model.graph(), value));
      return TensorArrays.doubles(model.maskGradient(batch.clean(), context, loss).gradient());
    }
  }

  private static double[] numbers(CircuitMeasures measures) {
    return new double[] {
      measures.logitDifference(),
      measures.klDivergence(),
      measures.accuracy(),
      measures.accuracyAmongGiven()
    };
  }

  private static <T> double[] mean(List<T> of, Function<T, double[]> values) {
    double[] sum = null;
    for (T each : of) {
      double[] some = values.apply(each);
      double[] before = sum == null ? new double[some.length] : sum;
      sum = new double[some.length];
      for (int i = 0; i < some.length; i++) {
        sum[i] = before[i] + some[i] / of.size();
      }
    }
    return Objects.requireNonNull(sum);
  }

  private static void assertClose(double[] actual, double[] expected) {
    assertThat(Arrays.stream(expected).map(Math::abs).max().orElse(0)).isGreaterThan(1e-3);
    assertThat(actual).containsExactly(expected, within(1e-11));
  }

  private static Path resource(Class<?> beside, String name) throws URISyntaxException {
    return Path.of(Objects.requireNonNull(beside.getResource(name)).toURI());
  }
}
