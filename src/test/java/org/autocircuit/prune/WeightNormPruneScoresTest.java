package org.autocircuit.prune;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.within;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.RandomModels;
import org.autocircuit.TestDevice;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Activation;
import org.autocircuit.model.Biases;
import org.autocircuit.model.Model;
import org.autocircuit.model.Norm;
import org.autocircuit.model.Precision;
import org.autocircuit.model.RotaryPositions;
import org.autocircuit.model.TransformerConfig;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;

/** Norms of products of weights, each multiplied out. */
class WeightNormPruneScoresTest {

  private static final int D_HEAD = 2;

  @Test
  void scoresAreNormsOfProducts() {
    try (PatchableModel model = small(PatchableModelOptions.defaults());
        PointerScope scope = new PointerScope()) {
      PruneScores scores = WeightNormPruneScores.of(model);
      Map<String, Tensor> w = model.weights();
      Tensor head = w.get("blocks.0.attn.W_O").narrow(0, D_HEAD, D_HEAD);
      Tensor ln1 = w.get("blocks.1.ln1.w").unsqueeze(1);
      Tensor key = w.get("blocks.1.attn.W_QKV").narrow(1, (3 + 2) * D_HEAD, D_HEAD).mul(ln1);
      assertNorm(scores.get("A0.1->A1.2.K"), head, key);
      Tensor in = w.get("blocks.1.mlp.W_in").mul(w.get("blocks.1.ln2.w").unsqueeze(1));
      assertNorm(scores.get("MLP 0->MLP 1"), w.get("blocks.0.mlp.W_out"), in);
      Tensor embedding = cat(0, w.get("embed.W_E"), w.get("pos_embed.W_pos"));
      Tensor end = w.get("unembed.W_U").t().mul(w.get("ln_final.w").unsqueeze(1));
      assertNorm(scores.get("Resid Start->Resid End"), embedding, end);
    }
  }

  @Test
  void jointInputsAndPositions() {
    PatchableModelOptions joint = PatchableModelOptions.defaults().withSeparateQkv(false);
    try (PatchableModel separate = small(PatchableModelOptions.defaults());
        PatchableModel model = small(joint);
        PatchableModel positions = small(PatchableModelOptions.defaults().withSeqLen(3))) {
      PruneScores parts = WeightNormPruneScores.of(separate);
      double squares = 0;
      for (String part : List.of("Q", "K", "V")) {
        squares += Math.pow(parts.get("A0.2->A1.1." + part), 2);
      }
      assertThat(WeightNormPruneScores.of(model).get("A0.2->A1.1"))
          .isEqualTo(Math.sqrt(squares), within(1e-9));
      for (int position = 0; position < 3; position++) {
        assertThat(WeightNormPruneScores.of(positions).get("MLP 0->A1.1.V", position))
            .isEqualTo(parts.get("MLP 0->A1.1.V"), within(1e-9));
      }
    }
  }

  /** Two query heads read one key/value head; the norm's weights count from 1; a gated MLP. */
  @Test
  void sharedKeysAndGatedMlps() {
    TransformerConfig config =
        TransformerConfig.builder()
            .nLayers(2)
            .dModel(8)
            .nHeads(4)
            .nKeyValueHeads(2)
            .dHead(D_HEAD)
            .dMlp(6)
            .dVocab(11)
            .norm(Norm.rmsNorm(1e-6).withWeightOffset(1))
            .rotary(RotaryPositions.halves(2))
            .activation(Activation.SILU)
            .gatedMlp(true)
            .biases(Biases.NONE)
            .build();
    Random random = new Random(4);
    try (PointerScope scope = new PointerScope()) {
      Map<String, Tensor> w = new LinkedHashMap<>();
      matrix(w, random, "embed.W_E", 11, 8);
      for (int block = 0; block < 2; block++) {
        String prefix = "blocks." + block + ".";
        matrix(w, random, prefix + "ln1.w", 8);
        matrix(w, random, prefix + "attn.W_QKV", 8, 8 * D_HEAD);
        matrix(w, random, prefix + "attn.W_O", 4 * D_HEAD, 8);
        matrix(w, random, prefix + "ln2.w", 8);
        matrix(w, random, prefix + "mlp.W_in", 8, 6);
        matrix(w, random, prefix + "mlp.W_gate", 8, 6);
        matrix(w, random, prefix + "mlp.W_out", 6, 8);
      }
      matrix(w, random, "ln_final.w", 8);
      matrix(w, random, "unembed.W_U", 11, 8);
      try (Model plain = Model.of(config, w);
          PatchableModel grouped = PatchableModel.of(plain, PatchableModelOptions.defaults());
          PatchableModel ungrouped =
              PatchableModel.of(
                  plain, PatchableModelOptions.defaults().withUngroupKeyValues(true))) {
        PruneScores scores = WeightNormPruneScores.of(grouped);
        Tensor gain = w.get("blocks.1.ln1.w").add(new Scalar(1)).unsqueeze(1);
        Tensor value = w.get("blocks.1.attn.W_QKV").narrow(1, (4 + 2 + 1) * D_HEAD, D_HEAD);
        assertNorm(scores.get("MLP 0->A1.1.V"), w.get("blocks.0.mlp.W_out"), value.mul(gain));
        assertThat(WeightNormPruneScores.of(ungrouped).get("MLP 0->A1.3.V"))
            .isEqualTo(scores.get("MLP 0->A1.1.V"), within(1e-9));
        Tensor in = cat(1, w.get("blocks.1.mlp.W_in"), w.get("blocks.1.mlp.W_gate"));
        Tensor ln2 = w.get("blocks.1.ln2.w").add(new Scalar(1)).unsqueeze(1);
        assertNorm(scores.get("Resid Start->MLP 1"), w.get("embed.W_E"), in.mul(ln2));
      }
    }
  }

  @Test
  void refusesNodesWithoutMatrices() {
    try (PatchableModel model = small(PatchableModelOptions.defaults().withFactorized(false))) {
      assertThatIllegalArgumentException()
          .isThrownBy(() -> WeightNormPruneScores.of(model))
          .withMessageContaining("factorised");
    }
    assertThat(new WeightNormPruneScores().sign()).isEqualTo(ScoreSign.UNSIGNED);
  }

  private static PatchableModel small(PatchableModelOptions options) {
    return RandomModels.patchable(RandomModels.SMALL, Precision.FLOAT64, options, 5);
  }

  private static void matrix(Map<String, Tensor> w, Random random, String name, long... shape) {
    long size = 1;
    for (long length : shape) {
      size *= length;
    }
    double[] values = RandomModels.normal(size, 0.5, random);
    w.put(name, TensorArrays.of(values, ScalarType.Double, TestDevice.NAME, shape));
  }

  private static Tensor cat(int dimension, Tensor... parts) {
    return torch.cat(new TensorVector(parts), dimension);
  }

  private static void assertNorm(double actual, Tensor written, Tensor read) {
    double expected = written.matmul(read).norm().item_double();
    assertThat(actual).isEqualTo(expected, within(1e-9)).isPositive();
  }
}
