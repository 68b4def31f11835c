package org.autocircuit.eval;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.RandomModels;
import org.autocircuit.TestModels;
import org.autocircuit.checkpoint.ModelSamples;
import org.autocircuit.data.PromptPair;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.eval.LogitContributions.Contribution;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Biases;
import org.autocircuit.model.Model;
import org.autocircuit.model.Norm;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ForwardResult;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.sae.AutoencoderModels;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class DirectLogitAttributionTest {

  private static final int SEQ = 4;

  static Stream<TransformerConfig> kinds() {
    return ModelSamples.kinds();
  }

  private static List<PromptPairBatch> prompts(TransformerConfig config) {
    PromptPairBatch few = RandomModels.promptPairs(config, 2, SEQ, 40);
    // Several answers, of which each counts as the other, and fewer wrong ones.
    PromptPair pair = new PromptPair("clean", "corrupt", List.of("a", "b"), List.of("c"));
    return List.of(
        RandomModels.promptPairs(config, 3, SEQ, 10),
        new PromptPairBatch(
            List.of(pair, pair),
            few.clean(),
            few.corrupt(),
            new long[][] {{2, 5}, {1, 9}},
            new long[][] {{3}, {4, 0, 7}}));
  }

  private static double mean(long[] answers, int offset, double[] logits) {
    return Arrays.stream(answers)
        .filter(token -> token != PromptPairBatch.NO_ANSWER)
        .mapToDouble(token -> logits[offset + (int) token])
        .average()
        .orElseThrow();
  }

  /** The mean over prompts of the model's own logit difference at a position, before a cap. */
  private static double logitDifference(
      PatchableModel model, List<PromptPairBatch> batches, int position) {
    TransformerConfig config = (TransformerConfig) model.config();
    double cap = config.logitSoftCap();
    double sum = 0;
    int prompts = 0;
    for (PromptPairBatch batch : batches) {
      try (PointerScope scope = new PointerScope()) {
        double[] logits =
            TensorArrays.doubles(
                model
                    .forward(
                        ForwardRequest.of(batch.clean())
                            .withContext(PatchContext.NONE)
                            .withOutputSlice(OutputSlice.ALL))
                    .logits());
        if (cap > 0) {
          // The inverse of cap * tanh(logit / cap).
          Arrays.setAll(
              logits, i -> cap / 2 * Math.log((1 + logits[i] / cap) / (1 - logits[i] / cap)));
        }
        for (int prompt = 0; prompt < batch.size(); prompt++) {
          int offset = (prompt * batch.seqLength() + position) * config.dVocab();
          sum +=
              mean(batch.answers()[prompt], offset, logits)
                  - mean(batch.wrongAnswers()[prompt], offset, logits);
        }
        prompts += batch.size();
      }
    }
    return sum / prompts;
  }

  @ParameterizedTest
  @MethodSource("kinds")
  void allTogetherAreTheModelsOwnLogitDifference(TransformerConfig config) {
    try (Model plain = ModelSamples.random(config)) {
      assertAddsUp(plain, config);
    }
  }

  @Test
  void ofAutoencodersToo() {
    for (boolean errorNodes : new boolean[] {false, true}) {
      try (Model plain =
          AutoencoderModels.model(RandomModels.SMALL, 3, Precision.FLOAT64, errorNodes, 5)) {
        assertAddsUp(plain, RandomModels.SMALL);
      }
    }
  }

  private static void assertAddsUp(Model plain, TransformerConfig config) {
    List<PromptPairBatch> prompts = prompts(config);
    try (PatchableModel model = PatchableModel.of(plain, PatchableModelOptions.defaults())) {
      LogitContributions last = DirectLogitAttribution.lastPosition().contributions(model, prompts);
      assertThat(last.columns()).isEqualTo(1);
      assertThat(last.prompts()).isEqualTo(5);
      assertThat(last.total(0)).isEqualTo(logitDifference(model, prompts, SEQ - 1), within(1e-9));
      LogitContributions each = DirectLogitAttribution.eachPosition().contributions(model, prompts);
      assertThat(each.columns()).isEqualTo(SEQ);
      for (int at = 0; at < SEQ; at++) {
        assertThat(each.total(at)).isEqualTo(logitDifference(model, prompts, at), within(1e-9));
      }
      assertThat(means(each, SEQ - 1)).containsExactly(means(last, 0), within(1e-9));
      boolean biased =
          config.biases().attentionOutput()
              || config.norm().hasBias()
              || config.autoencoders().isPresent()
              || plain.weights().containsKey("unembed.b_U");
      assertThat(Math.abs(last.constant(0)) > 1e-9).isEqualTo(biased);
    }
  }

  private static double[] means(LogitContributions contributions, int column) {
    return contributions.at(column).stream().mapToDouble(Contribution::mean).toArray();
  }

  /** The formula, number by number, from source outputs and weights. */
  @ParameterizedTest
  @MethodSource("kinds")
  void eachIsItsOutputThroughTheFrozenNorm(TransformerConfig config) {
    PromptPairBatch batch = RandomModels.promptPairs(config, 2, SEQ, 30);
    int d = config.dModel();
    try (Model plain = ModelSamples.random(config);
        PatchableModel model = PatchableModel.of(plain, PatchableModelOptions.defaults());
        PointerScope scope = new PointerScope()) {
      List<Contribution> contributions =
          DirectLogitAttribution.lastPosition().contributions(model, List.of(batch)).at(0);
      String stream = "blocks." + (config.nLayers() - 1) + ".hook_resid_post";
      ForwardResult run =
          model.forward(
              ForwardRequest.of(batch.clean())
                  .withContext(PatchContext.NONE)
                  .withOutputSlice(OutputSlice.ALL)
                  .withSourceOutputs()
                  .withReads(stream));
      double[] outputs = TensorArrays.doubles(run.sourceOutputs().orElseThrow());
      double[] resid = TensorArrays.doubles(run.read(stream));
      Map<String, double[]> weights =
          model.weights().entrySet().stream()
              .filter(entry -> entry.getKey().matches("ln_final.w|unembed.W_U"))
              .collect(
                  Collectors.toMap(Map.Entry::getKey, e -> TensorArrays.doubles(e.getValue())));
      boolean centred = config.norm().kind() == Norm.Kind.LAYER_NORM;
      for (Contribution contribution : contributions) {
        int src = contributions.indexOf(contribution);
        double[] of = new double[2];
        for (int prompt = 0; prompt < 2; prompt++) {
          double[] x = vector(resid, prompt * SEQ + SEQ - 1, d, centred);
          double scale = Math.sqrt(Arrays.stream(x).map(v -> v * v).sum() / d + config.eps());
          double[] u = vector(outputs, (src * 2 + prompt) * SEQ + SEQ - 1, d, centred);
          int answer = (int) batch.answers()[prompt][0];
          int wrong = (int) batch.wrongAnswers()[prompt][0];
          for (int i = 0; i < d; i++) {
            double w =
                config.norm().weights()
                    ? weights.get("ln_final.w")[i] + config.norm().weightOffset()
                    : 1;
            double[] unembed = weights.get("unembed.W_U");
            of[prompt] += u[i] / scale * w * (unembed[answer * d + i] - unembed[wrong * d + i]);
          }
        }
        assertThat(contribution.source()).isEqualTo(model.graph().srcs().get(src).name());
        assertThat(contribution.mean())
            .as("%s", contribution)
            .isEqualTo((of[0] + of[1]) / 2, within(1e-9));
        // Of two numbers: half their distance.
        assertThat(contribution.standardError())
            .isEqualTo(Math.abs(of[0] - of[1]) / 2, within(1e-6));
      }
    }
  }

  private static double[] vector(double[] values, int row, int d, boolean centred) {
    double[] vector = Arrays.copyOfRange(values, row * d, (row + 1) * d);
    double mean = centred ? Arrays.stream(vector).average().orElseThrow() : 0;
    return Arrays.stream(vector).map(v -> v - mean).toArray();
  }

  @Test
  void withoutBiasesNothingIsConstant() {
    TransformerConfig config =
        RandomModels.SMALL.toBuilder()
            .norm(Norm.layerNorm(1e-5).withoutWeights())
            .biases(Biases.NONE)
            .build();
    try (PointerScope scope = new PointerScope();
        Model biased = ModelSamples.random(config)) {
      Map<String, Tensor> weights = new LinkedHashMap<>(biased.weights());
      weights.remove("unembed.b_U");
      try (Model plain = Model.of(config, weights);
          PatchableModel model = PatchableModel.of(plain, PatchableModelOptions.defaults())) {
        LogitContributions last =
            DirectLogitAttribution.lastPosition().contributions(model, prompts(config));
        assertThat(last.constant(0)).isEqualTo(0, within(1e-10));
        assertThat(last.toString())
            .startsWith("logit difference of 5 prompts at the last position");
      }
    }
  }

  @Test
  void neitherBatchesNorPaddingNorTheGraphChangeAnything() {
    TransformerConfig config = RandomModels.SMALL;
    List<PromptPairBatch> prompts =
        List.of(
            RandomModels.promptPairs(config, 2, 3, 70), RandomModels.promptPairs(config, 2, 5, 80));
    PatchableModelOptions options = PatchableModelOptions.defaults();
    try (Model plain = RandomModels.model(config, Precision.FLOAT64, 3);
        PatchableModel model = PatchableModel.of(plain, options);
        PatchableModel residual =
            model.withOptions(options.withFactorized(false).withOutputSlice(OutputSlice.ALL))) {
      DirectLogitAttribution attribution = DirectLogitAttribution.lastPosition();
      double[] expected = means(attribution.contributions(model, prompts), 0);
      for (List<PromptPairBatch> same :
          List.of(List.of(TestModels.together(prompts)), List.of(prompts.get(1), prompts.get(0)))) {
        assertThat(means(attribution.contributions(model, same), 0))
            .containsExactly(expected, within(1e-9));
      }
      assertThat(means(attribution.contributions(residual, prompts), 0))
          .containsExactly(expected, within(1e-9));
      assertThatIllegalArgumentException()
          .isThrownBy(() -> DirectLogitAttribution.eachPosition().contributions(model, prompts))
          .withMessageContaining("some of 3 and some of 5 tokens");
    }
  }

  @Test
  void itIsStoppedBetweenBatchesAndRefusesWhatItHasNoAnswersFor() {
    DirectLogitAttribution attribution = DirectLogitAttribution.lastPosition();
    List<PromptPairBatch> prompts = prompts(TestModels.CONFIG);
    try (PatchableModel model = TestModels.patchable();
        PatchableModel micro = TestModels.micro(PatchableModelOptions.defaults())) {
      double[] first = means(attribution.contributions(model, prompts.subList(0, 1)), 0);
      assertThatThrownBy(
              () ->
                  attribution.contributions(
                      model,
                      prompts,
                      (done, total) -> {
                        assertThat(total).isEqualTo(2);
                        Thread.currentThread().interrupt();
                      }))
          .isInstanceOfSatisfying(
              StoppedException.class,
              e -> {
                assertThat(Thread.interrupted()).isTrue();
                assertThat(means(e.partial(LogitContributions.class).orElseThrow(), 0))
                    .containsExactly(first);
              });
      assertThatIllegalArgumentException()
          .isThrownBy(() -> attribution.contributions(model, List.of()));
      assertThatIllegalArgumentException()
          .isThrownBy(() -> attribution.contributions(micro, prompts))
          .withMessageContaining("expected a transformer");
      PromptPairBatch batch = prompts.get(0);
      long[][] outside = {{1}, {31}, {2}};
      assertThatIllegalArgumentException()
          .isThrownBy(
              () ->
                  attribution.contributions(
                      model,
                      List.of(
                          new PromptPairBatch(
                              batch.pairs(), batch.clean(), batch.corrupt(), outside, outside))))
          .withMessageContaining("answer token 31 of prompt 1");
    }
  }
}
