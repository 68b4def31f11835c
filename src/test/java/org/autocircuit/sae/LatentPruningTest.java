package org.autocircuit.sae;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.autocircuit.Close.assertClose;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import org.autocircuit.NativeScope;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.RandomModels;
import org.autocircuit.TestDevice;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.exception.NotFiniteException;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.AutoencoderConfig;
import org.autocircuit.model.BlockKind;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.ForwardRequest;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;

/**
 * Pruning by activity of a model whose latents are known: with encoder weights of 0, a latent's
 * value is its bias, on every prompt; with weights as large as the embedding, it depends on the
 * token.
 */
@ExtendWith(NativeScope.class)
class LatentPruningTest {

  private static final TransformerConfig CONFIG = RandomModels.SMALL;
  private static final int D = CONFIG.dModel();
  private static final String FIRST = "blocks.0.hook_mlp_out.";
  private static final String SECOND = "blocks.1.hook_mlp_out.";

  private Model plain;

  @BeforeEach
  void open() {
    plain = RandomModels.model(CONFIG, Precision.FLOAT64, 5);
  }

  @AfterEach
  void close() {
    plain.close();
  }

  private static PromptPairBatch batch(int size, int seq, long seed) {
    return RandomModels.promptPairs(CONFIG, size, seq, seed);
  }

  /** An autoencoder whose latents always have the given values, if they are positive. */
  private static Map<String, Tensor> constant(String prefix, double... values) {
    double[] decode = new double[D * values.length];
    for (int i = 0; i < decode.length; i++) {
      decode[i] = i % values.length; // tells a latent by its number
    }
    Map<String, Tensor> weights = new LinkedHashMap<>();
    weights.put(prefix + "encode_weight", tensor(new double[D * values.length], values.length, D));
    weights.put(prefix + "latent_bias", tensor(values, values.length));
    weights.put(prefix + "decode_weight", tensor(decode, D, values.length));
    weights.put(prefix + "bias", tensor(new double[D], D));
    return weights;
  }

  private static Tensor tensor(double[] values, long... shape) {
    return TensorArrays.of(values, ScalarType.Double, TestDevice.NAME, shape);
  }

  private static AutoencoderConfig autoencoders(Model model) {
    return ((TransformerConfig) model.config()).autoencoders().orElseThrow();
  }

  /** The latents that a block of autoencoders made by {@link #constant} has kept, in order. */
  private static double[] kept(Model pruned, String prefix) {
    Tensor decode = pruned.weights().get(prefix + "decode_weight");
    return TensorArrays.doubles(decode.select(-2, 0)); // the first of d_model rows
  }

  @Test
  void theMostActiveAreKeptAndComeFirst() {
    Map<String, Tensor> weights = constant(FIRST, 0.5, 3, -1, 2, 0, 1);
    weights.putAll(constant(SECOND, 1, 2));
    try (Model sparse = plain.withAutoencoders(weights, true);
        Model all = LatentPruning.builder().build().prune(sparse, List.of(batch(2, 3, 1)));
        Model three =
            LatentPruning.builder().maxLatents(3).build().prune(sparse, List.of(batch(2, 3, 1)))) {
      // Never active: 2 and 4. What a block keeps does not bound the next one.
      assertThat(kept(all, FIRST)).containsExactly(1, 3, 5, 0);
      assertThat(kept(all, SECOND)).containsExactly(1, 0);
      assertThat(TensorArrays.doubles(all.weights().get(FIRST + "latent_bias")))
          .containsExactly(3, 2, 1, 0.5);
      assertThat(kept(three, FIRST)).containsExactly(1, 3, 5);
      assertThat(kept(three, SECOND)).containsExactly(1, 0);
      assertThat(autoencoders(three).latents()).isEqualTo(Map.of(0, 3, 1, 2));
      assertThat(autoencoders(three).errorNodes()).isTrue();
      assertThat(three).hasToString(sparse.toString());
      assertThat(autoencoders(sparse).latents()).isEqualTo(Map.of(0, 6, 1, 2));
    }
  }

  @Test
  void progressCountsBatches() {
    List<String> progress = new ArrayList<>();
    try (Model sparse = plain.withAutoencoders(constant(FIRST, 1, 2), true);
        Model pruned =
            LatentPruning.builder()
                .build()
                .prune(
                    sparse,
                    List.of(batch(2, 3, 1), batch(1, 3, 2)),
                    (done, total) -> progress.add(done + "/" + total))) {
      assertThat(progress).containsExactly("1/2", "2/2");
    }
  }

  @Test
  void activityThatIsNoNumberIsSaid() {
    for (double value : new double[] {Double.NaN, Double.POSITIVE_INFINITY}) {
      try (Model sparse = plain.withAutoencoders(constant(SECOND, 1, value, 3), false)) {
        assertThatExceptionOfType(NotFiniteException.class)
            .isThrownBy(
                () -> LatentPruning.builder().build().prune(sparse, List.of(batch(2, 3, 1))))
            .withMessage("latents are not finite (are the weights finite?)");
      }
    }
  }

  @Test
  void moreThanThereAreIsAllThatAreActive() {
    try (Model sparse = plain.withAutoencoders(constant(SECOND, 1, -2, 3), false);
        Model pruned =
            LatentPruning.builder()
                .maxLatents(1000)
                .build()
                .prune(sparse, List.of(batch(1, 2, 1)))) {
      assertThat(kept(pruned, SECOND)).containsExactly(2, 0);
      assertThat(autoencoders(pruned).latents()).isEqualTo(Map.of(1, 2));
    }
  }

  @Test
  void amongEquallyActiveTheFirstAreKept() {
    double[] values = new double[100];
    Arrays.fill(values, 1);
    values[70] = 2;
    try (Model sparse = plain.withAutoencoders(constant(FIRST, values), false);
        Model pruned =
            LatentPruning.builder().maxLatents(4).build().prune(sparse, List.of(batch(2, 3, 1)))) {
      assertThat(kept(pruned, FIRST)).containsExactly(70, 0, 1, 2);
    }
  }

  @Test
  void anAutoencoderMayLoseAllItsLatents() {
    Map<String, Tensor> weights = constant(FIRST, -1, 0);
    weights.putAll(constant(SECOND, 1));
    for (boolean perPosition : new boolean[] {false, true}) {
      LatentPruning pruning = LatentPruning.builder().perPosition(perPosition).build();
      PromptPairBatch batch = batch(2, 3, 1);
      try (Model sparse = plain.withAutoencoders(weights, false);
          Model pruned = pruning.prune(sparse, List.of(batch));
          PatchableModel before = PatchableModel.of(sparse, PatchableModelOptions.defaults());
          PatchableModel after = PatchableModel.of(pruned, PatchableModelOptions.defaults())) {
        assertThat(autoencoders(pruned).latents()).isEqualTo(Map.of(0, 0, 1, 1));
        assertThat(after.graph().srcs()).hasSize(1 + 2 * CONFIG.nHeads() + 1);
        assertThat(after.logits(batch.clean())).isDeepEqualTo(before.logits(batch.clean()));
      }
    }
  }

  @Test
  void corruptPromptsCountIfTheyAreIncluded() {
    PromptPairBatch batch = batch(1, 3, 1);
    long[][] first = batch.corrupt();
    long[][] second = batch.clean();
    PromptPairBatch swapped =
        new PromptPairBatch(batch.pairs(), first, second, batch.answers(), batch.wrongAnswers());
    try (Model sparse = plain.withAutoencoders(random(12, 80), false);
        Model clean = LatentPruning.builder().build().prune(sparse, List.of(batch));
        Model both =
            LatentPruning.builder().includeCorrupt(true).build().prune(sparse, List.of(batch));
        Model apart = LatentPruning.builder().build().prune(sparse, List.of(batch, swapped))) {
      assertThat(autoencoders(both)).isEqualTo(autoencoders(apart));
      both.weights()
          .forEach((name, weight) -> assertClose(name, apart.weights().get(name), weight, 0));
      assertThat(nLatents(both)).isGreaterThan(nLatents(clean));
    }
  }

  @Test
  void paddingDoesNotCount() {
    PromptPairBatch two = batch(1, 2, 1);
    PromptPairBatch four = batch(1, 4, 9);
    PromptPairBatch padded =
        new PromptPairBatch(
            List.of(two.pairs().get(0), four.pairs().get(0)),
            new long[][] {two.clean()[0], four.clean()[0]},
            new long[][] {two.corrupt()[0], four.corrupt()[0]},
            new long[][] {two.answers()[0], four.answers()[0]},
            new long[][] {two.wrongAnswers()[0], four.wrongAnswers()[0]});
    LatentPruning pruning = LatentPruning.builder().includeCorrupt(true).build();
    try (Model sparse = plain.withAutoencoders(random(12, 80), false);
        Model together = pruning.prune(sparse, List.of(padded));
        Model apart = pruning.prune(sparse, List.of(two, four))) {
      together
          .weights()
          .forEach((name, weight) -> assertClose(name, weight, apart.weights().get(name), 0));
      assertThat(nLatents(together)).isPositive();
    }
  }

  private static int nLatents(Model model) {
    return autoencoders(model).latents().values().stream().mapToInt(Integer::intValue).sum();
  }

  /** Random autoencoders with biases low enough for many latents to be silent. */
  private static Map<String, Tensor> random(int seed, int latents) {
    Map<String, Tensor> weights =
        AutoencoderModels.weights(
            List.of(0, 1), D, latents, OptionalInt.empty(), Precision.FLOAT64, seed);
    for (String prefix : List.of(FIRST, SECOND)) {
      double[] low = new double[latents];
      Arrays.fill(low, -1.5);
      weights.put(prefix + "latent_bias", tensor(low, latents));
    }
    return weights;
  }

  /** Latents that are never active may go: on the same prompts nothing changes at any position. */
  @Test
  void pruningWithoutALimitChangesNothingOnTheDataSet() {
    PromptPairBatch batch = batch(3, 4, 1);
    for (boolean perPosition : new boolean[] {false, true}) {
      for (boolean errorNodes : new boolean[] {false, true}) {
        LatentPruning pruning = LatentPruning.builder().perPosition(perPosition).build();
        try (Model sparse = plain.withAutoencoders(random(3, 60), errorNodes);
            Model pruned = pruning.prune(sparse, List.of(batch));
            PatchableModel before = PatchableModel.of(sparse, PatchableModelOptions.defaults());
            PatchableModel after = PatchableModel.of(pruned, PatchableModelOptions.defaults())) {
          assertThat(after.graph().srcs().size()).isLessThan(before.graph().srcs().size());
          Tensor tokens = TensorArrays.of(batch.clean(), "tokens", TestDevice.NAME);
          assertClose("logits", after.forward(tokens), before.forward(tokens), 1e-12);
        }
      }
    }
  }

  @Test
  void eachPositionKeepsItsOwnMostActive() {
    PromptPairBatch batch = batch(2, 3, 1);
    LatentPruning pruning = LatentPruning.builder().perPosition(true).maxLatents(7).build();
    try (Model sparse = plain.withAutoencoders(random(3, 30), false);
        Model pruned = pruning.prune(sparse, List.of(batch));
        PatchableModel before = PatchableModel.of(sparse, PatchableModelOptions.defaults());
        PatchableModel after = PatchableModel.of(pruned, PatchableModelOptions.defaults())) {
      AutoencoderConfig config = autoencoders(pruned);
      assertThat(config).isEqualTo(AutoencoderConfig.of(Map.of(0, 7, 1, 7)).withSeqLen(3));
      String latents = FIRST + "latents";
      Tensor tokens = TensorArrays.of(batch.clean(), "tokens", TestDevice.NAME);
      ForwardRequest request = ForwardRequest.of(tokens).withReads(latents);
      Tensor all = before.forward(request).read(latents).sum(0); // [seq, latents]
      Tensor kept = after.forward(request).read(latents).sum(0);
      Tensor expected = all.topk(7).get0();
      assertClose("activity", kept, expected, 1e-12);
      for (int position = 0; position < 3; position++) {
        long[] most = TensorArrays.longs(all.select(0, position).topk(7).get1());
        for (int i = 0; i < 7 && TensorArrays.doubles(expected)[7 * position + i] > 0; i++) {
          for (String weight : List.of("encode_weight", "latent_bias")) {
            assertClose(
                weight,
                pruned.weights().get(FIRST + weight).select(0, position).select(0, i),
                sparse.weights().get(FIRST + weight).select(0, most[i]),
                0);
          }
        }
      }
      assertThatIllegalArgumentException()
          .isThrownBy(() -> after.logits(RandomModels.prompts(CONFIG, 2, 4, 1)))
          .withMessage("tokens: expected 3 positions, as many as have latents of their own, got 4");
    }
  }

  @Test
  void parallelBlocksArePruned() {
    TransformerConfig parallel = CONFIG.toBuilder().blockKind(BlockKind.PARALLEL).build();
    try (Model twice = Model.of(parallel, plain.weights());
        Model sparse = twice.withAutoencoders(constant(FIRST, 1, -1, 2), false);
        Model pruned = LatentPruning.builder().build().prune(sparse, List.of(batch(2, 3, 1)))) {
      assertThat(kept(pruned, FIRST)).containsExactly(2, 0);
    }
  }

  @Test
  void whatCannotBePrunedIsRefused() {
    LatentPruning pruning = LatentPruning.builder().build();
    LatentPruning positions = LatentPruning.builder().perPosition(true).build();
    assertThatIllegalArgumentException()
        .isThrownBy(() -> LatentPruning.builder().maxLatents(0))
        .withMessage("maxLatents: expected 1 or more, got 0");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> pruning.prune(plain, List.of(batch(1, 2, 1))))
        .withMessageContaining("expected one with autoencoders");
    try (Model sparse = plain.withAutoencoders(constant(FIRST, 1, 2), false);
        Model positioned = positions.prune(sparse, List.of(batch(1, 2, 1)))) {
      assertThatIllegalArgumentException()
          .isThrownBy(() -> pruning.prune(sparse, List.of()))
          .withMessage("batches: expected at least one, got none");
      assertThatIllegalArgumentException()
          .isThrownBy(() -> positions.prune(sparse, List.of(batch(1, 2, 1), batch(1, 3, 1))))
          .withMessageContaining("expected prompts of 2 tokens as in the first batch, got 3");
      assertThatIllegalArgumentException()
          .isThrownBy(() -> pruning.prune(positioned, List.of(batch(1, 2, 1))))
          .withMessageContaining("latents serve all positions");
      assertThatIllegalArgumentException()
          .isThrownBy(() -> pruning.prune(sparse, List.of(batch(1, CONFIG.nCtx() + 1, 1))))
          .withMessageContaining("n_ctx");
      sparse.close();
      assertThatIllegalStateException()
          .isThrownBy(() -> pruning.prune(sparse, List.of(batch(1, 2, 1))));
    }
  }
}
