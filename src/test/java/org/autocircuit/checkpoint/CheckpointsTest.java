package org.autocircuit.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.TestModels;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.model.MicroModelConfig;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerLensWeights;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CheckpointsTest {

  @TempDir private Path folder;

  @Test
  void whatIsSavedLoads() {
    for (Precision precision : Precision.values()) {
      for (boolean tied : new boolean[] {true, false}) {
        Path target = folder.resolve(precision + " " + tied);
        LoadOptions options = LoadOptions.DEFAULT.withPrecision(precision);
        try (Model model = TestModels.transformer(precision, tied, 3)) {
          assertThat(model.tiedEmbedding()).isEqualTo(tied);
          Checkpoints.save(model, target);
          try (Model loaded = Checkpoints.load(target, options)) {
            assertThat(loaded.config()).isEqualTo(model.config());
            assertThat(loaded.precision()).isEqualTo(precision);
            assertThat(loaded.tiedEmbedding()).isEqualTo(tied);
            assertThat(loaded.device()).isEqualTo("cpu");
            assertSame(loaded.weights(), model.weights());
          }
        }
      }
    }
  }

  @Test
  void loadsInAnotherPrecisionAndOnMeta() {
    try (Model model = TestModels.transformer(Precision.FLOAT64, true, 3);
        PointerScope scope = new PointerScope()) {
      Checkpoints.save(model, folder);
      try (Model single = Checkpoints.load(folder)) {
        assertThat(single.precision()).isEqualTo(Precision.FLOAT32);
        Tensor expected = model.weights().get("blocks.1.mlp.W_in").to(ScalarType.Float);
        assertThat(torch.equal(single.weights().get("blocks.1.mlp.W_in"), expected)).isTrue();
      }
      try (Model meta = Checkpoints.load(folder, LoadOptions.DEFAULT.withDevice("meta"))) {
        assertThat(meta.device()).isEqualTo("meta");
        assertThat(meta.weights().get("embed.W_E").is_meta()).isTrue();
      }
    }
  }

  @Test
  void aDeviceThatIsNotThereIsRefusedBeforeAnythingIsRead() {
    assertThatIllegalArgumentException()
        .isThrownBy(
            () ->
                Checkpoints.load(folder.resolve("none"), LoadOptions.DEFAULT.withDevice("cuda:99"))
                    .close())
        .withMessageStartingWith("device cuda:99: ")
        .withMessageNotContaining("\n");
  }

  @Test
  void aLoadedModelRunsLikeTheOneThatWasSaved() {
    try (Model model = TestModels.transformer(Precision.FLOAT32, true, 3);
        PatchableModel expected = PatchableModel.of(model, PatchableModelOptions.defaults())) {
      Checkpoints.save(model, folder);
      try (PatchableModel loaded = PatchableModel.open(folder)) {
        long[][] tokens = TestModels.tokens(2, 5, 1);
        assertThat(loaded.logits(tokens)).isDeepEqualTo(expected.logits(tokens));
        assertThat(loaded).hasToString("PatchableModel of Model " + folder.getFileName());
      }
    }
  }

  @Test
  void aTruncatedFileIsNamed() throws Exception {
    try (Model model = TestModels.transformer(Precision.FLOAT32, true, 3)) {
      Checkpoints.save(model, folder);
    }
    Path file = folder.resolve("model.safetensors");
    try (RandomAccessFile access = new RandomAccessFile(file.toFile(), "rw")) {
      access.setLength(Files.size(file) - 4);
    }
    assertThatThrownBy(() -> Checkpoints.load(folder))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("model.safetensors");
    assertThatThrownBy(() -> Checkpoints.load(folder.resolve("nowhere")))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("nowhere");
  }

  @Test
  void weightsThatDoNotFitAreNamed() {
    try (PointerScope scope = new PointerScope();
        Model model = TestModels.transformer(Precision.FLOAT32, true, 3)) {
      Map<String, Tensor> weights = model.weights();
      refused(with(weights, "blocks.1.ln1.w", null), "blocks.1.ln1.w is missing", "[16]");
      refused(
          with(weights, "blocks.1.attn.b_O", torch.zeros(15)),
          "blocks.1.attn.b_O: expected shape",
          "[16]",
          "got [15]");
      refused(
          with(weights, "blocks.0.mlp.b_in", torch.zeros(32).to(ScalarType.Double)),
          "blocks.0.mlp.b_in: expected dtype Float",
          "got Double");
      refused(
          with(weights, "embed.W_E", torch.zeros(31, 16).to(ScalarType.Int)),
          "embed.W_E",
          "Float, Double, BFloat16 or Half",
          "got Int");
      refused(with(weights, "blocks.2.ln1.w", torch.zeros(16)), "has no weights", "blocks.2.ln1.w");
    }
  }

  @Test
  void weightsAreSharedWithWhoeverGaveThem() {
    try (PointerScope scope = new PointerScope();
        Model model = TestModels.transformer(Precision.FLOAT32, true, 3);
        PatchableModel patchable = PatchableModel.of(model, PatchableModelOptions.defaults());
        Model copy = Model.of(model.config(), model.weights())) {
      Tensor weight = model.weights().get("ln_final.b");
      weight.add_(new org.bytedeco.pytorch.Scalar(1.5));
      assertThat(torch.equal(copy.weights().get("ln_final.b"), weight)).isTrue();
      assertThat(torch.equal(patchable.weights().get("ln_final.b"), weight)).isTrue();
      assertThat(copy.tiedEmbedding()).isTrue();
    }
  }

  @Test
  void aClosedModelIsNamedAndWhatWasMadeOfItLives() {
    try (PointerScope scope = new PointerScope()) {
      Model model = TestModels.transformer(Precision.FLOAT32, true, 3);
      PatchableModel patchable = PatchableModel.of(model, PatchableModelOptions.defaults());
      Map<String, Tensor> weights = model.weights();
      model.close();
      model.close();
      assertThat(model.isClosed()).isTrue();
      assertThatThrownBy(model::weights)
          .isInstanceOf(IllegalStateException.class)
          .hasMessage("Model (2 layers) is closed");
      assertThatThrownBy(() -> PatchableModel.of(model, PatchableModelOptions.defaults()))
          .isInstanceOf(IllegalStateException.class);
      assertThat(weights.get("embed.W_E").numel()).isEqualTo(31 * 16);
      assertThat(patchable.logits(new long[][] {{1, 2}})).hasDimensions(1, 31);
      assertThat(patchable.weights()).hasSameSizeAs(weights);
      patchable.close();
    }
  }

  @Test
  void microModelsHaveNoHuggingFaceFolder() {
    try (PointerScope scope = new PointerScope();
        Model model =
            Model.of(new MicroModelConfig(1), Map.of("blocks.0.weights", torch.ones(2, 2)))) {
      assertThat(model.hookNames()).contains("blocks.0.head_inputs", "output");
      assertThatThrownBy(() -> Checkpoints.save(model, folder))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("MicroModelConfig");
    }
  }

  @Test
  void anUnembeddingBiasIsSavedOnlyIfItIsZero() {
    try (PointerScope scope = new PointerScope();
        Model model = TestModels.transformer(Precision.FLOAT32, true, 3)) {
      Map<String, Tensor> weights = with(model.weights(), "unembed.b_U", torch.zeros(31));
      try (Model biased = Model.of(model.config(), weights)) {
        Checkpoints.save(biased, folder);
        biased.weights().get("unembed.b_U").add_(new org.bytedeco.pytorch.Scalar(1));
        assertThatThrownBy(() -> Checkpoints.save(biased, folder))
            .isInstanceOf(IllegalArgumentException.class)
            .hasMessageContaining("unembed.b_U");
      }
    }
  }

  @Test
  void tooLittleMemoryForJavaCppIsSaidBeforeLoading() {
    boolean active =
        !Boolean.getBoolean("org.bytedeco.javacpp.noPointerGC") && Pointer.maxPhysicalBytes() > 0;
    Path huge = folder.resolve("gpt2");
    if (!active) {
      Checkpoints.requireMemory(huge, Long.MAX_VALUE / 2);
      return;
    }
    assertThatThrownBy(() -> Checkpoints.requireMemory(huge, Pointer.maxPhysicalBytes()))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("org.bytedeco.javacpp.maxPhysicalBytes")
        .hasMessageContaining("gpt2");
  }

  @Test
  void transformerLensWeightsRunLikeTheCanonicalOnes() {
    try (PointerScope scope = new PointerScope();
        Model model = TestModels.transformer(Precision.FLOAT64, false, 3)) {
      Map<String, Tensor> canonical = model.weights();
      Map<String, Tensor> back =
          TransformerLensWeights.toCanonical(model.config(), transformerLens(canonical));
      assertSame(back, canonical);
      try (Model same = Model.of(model.config(), back);
          PatchableModel first = PatchableModel.of(model, PatchableModelOptions.defaults());
          PatchableModel second = PatchableModel.of(same, PatchableModelOptions.defaults())) {
        long[][] tokens = TestModels.tokens(2, 5, 1);
        float[][] expected = first.logits(tokens);
        float[][] logits = second.logits(tokens);
        for (int token = 0; token < 31; token++) {
          assertThat(logits[1][token]).isCloseTo(expected[1][token], within(1e-6f));
        }
      }
      Map<String, Tensor> without = transformerLens(canonical);
      without.remove("blocks.1.attn.W_K");
      assertThatThrownBy(() -> TransformerLensWeights.toCanonical(model.config(), without))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("blocks.1.attn.W_K is missing");
    }
  }

  /** The layouts of TransformerLens, made element by element from what its documentation says. */
  private static Map<String, Tensor> transformerLens(Map<String, Tensor> canonical) {
    Map<String, Tensor> weights = new LinkedHashMap<>();
    canonical.forEach(
        (name, weight) -> {
          if (name.endsWith("attn.W_QKV")) {
            for (int part = 0; part < 3; part++) {
              weights.put(
                  name.replace("QKV", "QKV".substring(part, part + 1)),
                  weight.narrow(1, 16L * part, 16).reshape(16, 4, 4).permute(1, 0, 2));
            }
          } else if (name.endsWith("attn.b_QKV")) {
            for (int part = 0; part < 3; part++) {
              weights.put(
                  name.replace("QKV", "QKV".substring(part, part + 1)),
                  weight.narrow(0, 16L * part, 16).reshape(4, 4));
            }
          } else if (name.endsWith("attn.W_O")) {
            weights.put(name, weight.reshape(4, 4, 16));
          } else if (name.equals("unembed.W_U")) {
            weights.put(name, weight.t());
          } else {
            weights.put(name, weight);
          }
        });
    weights.put("blocks.0.attn.mask", torch.ones(2, 2));
    return weights;
  }

  private static void refused(Map<String, Tensor> weights, String... parts) {
    assertThatThrownBy(() -> Model.of(TestModels.CONFIG, weights))
        .isInstanceOf(IllegalArgumentException.class)
        .message()
        .contains(parts);
  }

  private static Map<String, Tensor> with(
      Map<String, Tensor> weights, String name, Tensor replacement) {
    Map<String, Tensor> changed = new LinkedHashMap<>(weights);
    if (replacement == null) {
      changed.remove(name);
    } else {
      changed.put(name, replacement);
    }
    return changed;
  }

  private static void assertSame(Map<String, Tensor> actual, Map<String, Tensor> expected) {
    assertThat(actual.keySet()).containsExactlyInAnyOrderElementsOf(expected.keySet());
    expected.forEach(
        (name, weight) -> assertThat(torch.equal(actual.get(name), weight)).as(name).isTrue());
  }
}
