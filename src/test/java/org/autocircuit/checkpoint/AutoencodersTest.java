package org.autocircuit.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import org.autocircuit.NativeScope;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.RandomModels;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.model.AutoencoderConfig;
import org.autocircuit.model.BlockKind;
import org.autocircuit.model.MicroModelConfig;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.sae.AutoencoderModels;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;

/** Autoencoders of a model: put on, saved, loaded, and refused. */
@ExtendWith(NativeScope.class)
class AutoencodersTest {

  private static final TransformerConfig CONFIG = RandomModels.SMALL;
  private static final OptionalInt ALL = OptionalInt.empty();
  private static final String ENCODE = "blocks.1.hook_mlp_out.encode_weight";

  @TempDir private Path folder;
  private Model plain;

  @BeforeEach
  void open() {
    plain = RandomModels.model(CONFIG, Precision.FLOAT32, 5);
  }

  @AfterEach
  void close() {
    plain.close();
  }

  private static Map<String, Tensor> weights(OptionalInt seqLen, int latents) {
    return AutoencoderModels.weights(
        List.of(0, 1), CONFIG.dModel(), latents, seqLen, Precision.FLOAT32, 3);
  }

  private static AutoencoderConfig autoencoders(Model model) {
    return ((TransformerConfig) model.config()).autoencoders().orElseThrow();
  }

  @Test
  void theStructureIsReadFromTheWeights() {
    try (Model sparse = plain.withAutoencoders(weights(ALL, 7), true);
        Model positioned = sparse.withAutoencoders(weights(OptionalInt.of(4), 3), false)) {
      assertThat(autoencoders(sparse))
          .isEqualTo(AutoencoderConfig.of(Map.of(0, 7, 1, 7)).withErrorNodes(true));
      assertThat(autoencoders(positioned))
          .isEqualTo(AutoencoderConfig.of(Map.of(0, 3, 1, 3)).withSeqLen(4));
      assertThat(sparse.hookNames())
          .containsSubsequence(
              "blocks.1.mlp.hook_post",
              "blocks.1.hook_mlp_out.wrapped_hook",
              "blocks.1.hook_mlp_out.latents",
              "blocks.1.hook_mlp_out.latent_outs",
              "blocks.1.hook_mlp_out.error",
              "blocks.1.hook_mlp_out",
              "blocks.1.hook_resid_post",
              "ln_final.hook_scale");
      assertThat(plain.hookNames()).doesNotContain("blocks.1.hook_mlp_out.error");
      assertThat(sparse).hasToString(plain + " with autoencoders");
      assertThat(positioned).hasToString(sparse.toString());
    }
  }

  @Test
  void weightsAreSharedAndOutliveTheModelTheyCameFrom() {
    Map<String, Tensor> given = weights(ALL, 7);
    try (Model sparse = plain.withAutoencoders(given, false)) {
      assertThat(sparse.weights().get(ENCODE).is_same(given.get(ENCODE))).isTrue();
      assertThat(sparse.weights().get("embed.W_E").is_same(plain.weights().get("embed.W_E")))
          .isTrue();
      plain.close();
      given.values().forEach(Tensor::close);
      try (PatchableModel model = PatchableModel.of(sparse, PatchableModelOptions.defaults())) {
        assertThat(model.logits(RandomModels.prompts(CONFIG, 2, 3, 1))).hasDimensions(2, 17);
      }
    }
  }

  @Test
  void whatIsSavedLoads() {
    for (OptionalInt seqLen : List.of(ALL, OptionalInt.of(4))) {
      for (int latents : new int[] {5, 0}) {
        Path file = folder.resolve(latents + seqLen.toString() + ".safetensors");
        try (Model sparse = plain.withAutoencoders(weights(seqLen, latents), true)) {
          Checkpoints.saveAutoencoders(sparse, file);
          try (Model loaded = Checkpoints.withAutoencoders(plain, file, true)) {
            assertThat(loaded.config()).isEqualTo(sparse.config());
            Map<String, Tensor> expected = sparse.weights();
            loaded
                .weights()
                .forEach(
                    (name, weight) ->
                        assertThat(torch.equal(weight, expected.get(name))).as(name).isTrue());
          }
        }
      }
    }
  }

  @Test
  void filesAreConvertedToTheModelsPrecision() {
    Path file = folder.resolve("sae.safetensors");
    try (Model sparse = plain.withAutoencoders(weights(ALL, 5), false);
        Model precise = RandomModels.model(CONFIG, Precision.FLOAT64, 5)) {
      Checkpoints.saveAutoencoders(sparse, file);
      try (Model loaded = Checkpoints.withAutoencoders(precise, file, false)) {
        assertThat(
                torch.equal(
                    loaded.weights().get(ENCODE),
                    sparse.weights().get(ENCODE).to(ScalarType.Double)))
            .isTrue();
      }
    }
  }

  @Test
  void onMetaThereAreShapesOnly() {
    try (Model sparse = plain.withAutoencoders(weights(ALL, 5), true);
        Model meta = sparse.to("meta");
        PatchableModel model = PatchableModel.of(meta, PatchableModelOptions.defaults())) {
      Tensor tokens = torch.zeros(new long[] {2, 3}).to(ScalarType.Long);
      Tensor there = tokens.to(new Device("meta"), ScalarType.Long);
      assertThat(model.forward(there).shape()).containsExactly(2, CONFIG.dVocab());
    }
  }

  @Test
  void weightsThatDoNotFitAreNamed() {
    refused(with(ENCODE, null), "weight " + ENCODE + " is missing");
    refused(
        with("blocks.0.hook_mlp_out.bias", null), "weight blocks.0.hook_mlp_out.bias is missing");
    refused(
        with(ENCODE, torch.zeros(5)), ENCODE + ": expected shape ([seq_len]) [latents, d_model]");
    refused(with(ENCODE, torch.zeros(7, 13)), ENCODE + ": expected shape  = [7, 12], got [7, 13]");
    refused(with(ENCODE, torch.zeros(6, 12)), "blocks.1.hook_mlp_out.latent_bias", "[6], got [7]");
    refused(
        with(ENCODE, torch.zeros(new long[] {4, 7, 12})), "expected the positions of the other");
    refused(
        with("blocks.1.hook_mlp_out.decode_weight", torch.zeros(7, 12)), "[12, 7], got [7, 12]");
    refused(
        with(ENCODE, torch.zeros(7, 12).to(ScalarType.Double)), "expected dtype Float, got Double");
    refused(
        with("blocks.1.hook_mlp_out.W_enc", torch.zeros(7, 12)),
        "unknown autoencoder weight 'blocks.1.hook_mlp_out.W_enc'",
        "blocks.N.hook_mlp_out.encode_weight");
    refused(with("embed.W_E", torch.zeros(7, 12)), "unknown autoencoder weight 'embed.W_E'");
    refused(Map.of(), "expected at least one, got none");
    Map<String, Tensor> third =
        AutoencoderModels.weights(List.of(2), CONFIG.dModel(), 3, ALL, Precision.FLOAT32, 3);
    refused(third, "autoencoders: expected blocks from 0 to 1, got [2]");
    refused(weights(OptionalInt.of(10), 3), "at most 9 positions (nCtx), got 10");
  }

  private static Map<String, Tensor> with(String name, Tensor weight) {
    Map<String, Tensor> changed = new LinkedHashMap<>(weights(ALL, 7));
    if (weight == null) {
      changed.remove(name);
    } else {
      changed.put(name, weight);
    }
    return changed;
  }

  private void refused(Map<String, Tensor> weights, String... message) {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> plain.withAutoencoders(weights, false))
        .satisfies(e -> assertThat(e).hasMessageContainingAll(message));
  }

  @Test
  void modelsThatCannotHaveAutoencodersAreRefused() {
    TransformerConfig attention = CONFIG.toBuilder().blockKind(BlockKind.ATTENTION_ONLY).build();
    assertThatIllegalArgumentException()
        .isThrownBy(
            () -> attention.toBuilder().autoencoders(AutoencoderConfig.of(Map.of(0, 3))).build())
        .withMessageContaining("attention-only");
    Map<String, Tensor> micro = Map.of("blocks.0.weights", torch.zeros(2, 2));
    try (Model model = Model.of(new MicroModelConfig(1), micro)) {
      assertThatIllegalArgumentException()
          .isThrownBy(() -> model.withAutoencoders(weights(ALL, 3), false))
          .withMessageContaining("expected a transformer");
    }
    plain.close();
    assertThatIllegalStateException()
        .isThrownBy(() -> plain.withAutoencoders(weights(ALL, 3), false));
  }

  @Test
  void numbersThatNoAutoencoderHasAreRefused() {
    assertThatIllegalArgumentException().isThrownBy(() -> AutoencoderConfig.of(Map.of(-1, 3)));
    assertThatIllegalArgumentException().isThrownBy(() -> AutoencoderConfig.of(Map.of(0, -3)));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> AutoencoderConfig.of(Map.of(0, 3)).withSeqLen(0))
        .withMessageContaining("seqLen must be positive, got 0");
  }

  @Test
  void filesThatHoldAnythingElseAreRefused() throws Exception {
    Path missing = folder.resolve("missing.safetensors");
    assertThatExceptionOfType(CheckpointException.class)
        .isThrownBy(() -> Checkpoints.withAutoencoders(plain, missing, false))
        .withMessageContaining("missing.safetensors: no such file");
    Path other = folder.resolve("other.safetensors");
    new SafetensorsWriter()
        .add("wte.weight", SafetensorsType.F32, new long[] {1}, ByteBuffer.allocate(4))
        .write(other);
    assertThatExceptionOfType(CheckpointException.class)
        .isThrownBy(() -> Checkpoints.withAutoencoders(plain, other, false))
        .withMessageContaining("other.safetensors: expected weights of autoencoders")
        .withMessageContaining("got wte.weight of F32");
    new SafetensorsWriter()
        .add(ENCODE, SafetensorsType.I32, new long[] {1}, ByteBuffer.allocate(4))
        .write(other);
    assertThatExceptionOfType(CheckpointException.class)
        .isThrownBy(() -> Checkpoints.withAutoencoders(plain, other, false))
        .withMessageContaining("of I32");
    new SafetensorsWriter()
        .add(ENCODE, SafetensorsType.F32, new long[] {1L << 40, 0}, ByteBuffer.allocate(0))
        .write(other);
    assertThatExceptionOfType(CheckpointException.class)
        .isThrownBy(() -> Checkpoints.withAutoencoders(plain, other, false))
        .withMessageContaining("other.safetensors: weight " + ENCODE)
        .withMessageContaining("got [1099511627776, 0]");
    Files.write(other, new byte[3]);
    assertThatExceptionOfType(CheckpointException.class)
        .isThrownBy(() -> Checkpoints.withAutoencoders(plain, other, false))
        .withMessageContaining("too short");
  }

  @Test
  void aFolderHasNoPlaceForThem() {
    try (Model sparse = plain.withAutoencoders(weights(ALL, 3), false)) {
      assertThatIllegalArgumentException()
          .isThrownBy(() -> Checkpoints.save(sparse, folder.resolve("model")))
          .withMessageContaining("can describe");
      assertThatIllegalArgumentException()
          .isThrownBy(() -> Checkpoints.saveAutoencoders(plain, folder.resolve("sae.safetensors")))
          .withMessageContaining("has no autoencoders to save");
      assertThat(folder.resolve("model")).doesNotExist();
    }
  }
}
