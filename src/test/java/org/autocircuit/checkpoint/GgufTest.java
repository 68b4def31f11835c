package org.autocircuit.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.function.Consumer;
import org.autocircuit.NativeScope;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.internal.JsonFiles;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Activation;
import org.autocircuit.model.Biases;
import org.autocircuit.model.Model;
import org.autocircuit.model.Norm;
import org.autocircuit.model.Precision;
import org.autocircuit.model.RotaryPositions;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.tokenizer.Tokenizer;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** GGUF files that the tests make of folders, against those folders; and broken ones. */
@ExtendWith(NativeScope.class)
class GgufTest {

  private static final String SCALING =
      "{'rope_theta': 500000.0, 'rope_scaling': {'rope_type': 'llama3', 'factor': 8.0,"
          + " 'low_freq_factor': 1.0, 'high_freq_factor': 4.0,"
          + " 'original_max_position_embeddings': 8192}}";

  @TempDir Path folder;

  private Path file() {
    return folder.resolve("model.gguf");
  }

  private static Tensor logits(Path path, Precision precision, int dVocab) {
    Random random = new Random(1);
    long[][] tokens = new long[2][9];
    for (long[] row : tokens) {
      Arrays.setAll(row, i -> random.nextInt(dVocab));
    }
    try (PatchableModel model =
        PatchableModel.open(
            path,
            LoadOptions.DEFAULT.withPrecision(precision),
            PatchableModelOptions.defaults().withOutputSlice(OutputSlice.ALL))) {
      return model.forward(TensorArrays.of(tokens, "tokens", "cpu"));
    }
  }

  /** That the file and the folder are the same model to the last bit. */
  private void assertSameModel(Path file, Path folder, Precision precision) {
    LoadOptions options = LoadOptions.DEFAULT.withPrecision(precision);
    try (Model actual = Checkpoints.load(file, options);
        Model expected = Checkpoints.load(folder, options)) {
      assertThat(actual.config()).isEqualTo(expected.config());
      assertThat(actual.tiedEmbedding()).isEqualTo(expected.tiedEmbedding());
      Map<String, Tensor> weights = actual.weights();
      expected
          .weights()
          .forEach(
              (name, weight) ->
                  assertThat(TensorArrays.doubles(weights.get(name)))
                      .as(name)
                      .containsExactly(TensorArrays.doubles(weight)));
    }
    int dVocab = HuggingFaceConfig.read(folder).transformer().dVocab();
    assertThat(TensorArrays.doubles(logits(file, precision, dVocab)))
        .containsExactly(TensorArrays.doubles(logits(folder, precision, dVocab)));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "llama",
        "llama grouped",
        "llama one kv head, biases",
        "llama linear scaling",
        "qwen2",
        "qwen3"
      })
  void unquantisedFilesAreTheirFolders(String name) {
    FamilyModel model = FamilyModels.named(name);
    FamilyFolders.write(model, folder, SafetensorsType.F64);
    GgufFiles.convert(folder, file(), GgufFiles.F64);
    assertSameModel(file(), folder, Precision.FLOAT64);
    GgufFiles.convert(folder, file(), GgufFiles.F32);
    assertSameModel(file(), folder, Precision.FLOAT32);
    for (SafetensorsType type : List.of(SafetensorsType.BF16, SafetensorsType.F16)) {
      FamilyFolders.write(
          model.rounded(FamilyFolders.scalarType(type)), folder, SafetensorsType.F64);
      int code = type == SafetensorsType.F16 ? GgufFiles.F16 : GgufFiles.BF16;
      GgufFiles.convert(folder, file(), code);
      assertSameModel(file(), folder, Precision.FLOAT64);
    }
  }

  /** A Llama whose rows are whole blocks; the folder's weights are fp64. */
  private void writeWide() {
    TransformerConfig config =
        TransformerConfig.builder()
            .nLayers(2)
            .dModel(64)
            .nHeads(4)
            .nKeyValueHeads(2)
            .dMlp(96)
            .dVocab(50)
            .norm(Norm.rmsNorm(1e-5))
            .rotary(RotaryPositions.halves(16))
            .activation(Activation.SILU)
            .gatedMlp(true)
            .biases(Biases.NONE)
            .build();
    FamilyFolders.writeRandom(config, folder);
  }

  @Test
  void quantisedFilesAreTheirFoldersUpToRounding() {
    writeWide();
    GgufFiles.convert(folder, file(), GgufFiles.Q8_0);
    Path rounded = folder.resolve("rounded");
    Map<String, Tensor> tensors = GgufFiles.tensors(folder);
    tensors.replaceAll((name, tensor) -> GgufFiles.throughQ8(tensor));
    FamilyFolders.writeConfig(JsonFiles.readObject(folder.resolve("config.json")), rounded);
    FamilyFolders.writeFile(tensors, rounded.resolve("model.safetensors"), SafetensorsType.F32);
    assertSameModel(file(), rounded, Precision.FLOAT32);
    assertSameModel(file(), rounded, Precision.FLOAT64);

    double[] exact = TensorArrays.doubles(logits(folder, Precision.FLOAT64, 50));
    double greatest = Arrays.stream(exact).map(Math::abs).max().orElse(0);
    assertThat(TensorArrays.doubles(logits(file(), Precision.FLOAT64, 50)))
        .containsExactly(exact, within(0.03 * greatest))
        .isNotEqualTo(exact);
  }

  /** As llama.cpp's converter computes them, by wavelengths. */
  private static double[] divisors(int dHead, double base) {
    double[] divisors = new double[dHead / 2];
    for (int i = 0; i < divisors.length; i++) {
      double wavelength = 2 * Math.PI * Math.pow(base, 2.0 * i / dHead);
      double smooth = (8192 / wavelength - 1) / 3;
      divisors[i] = wavelength < 2048 ? 1 : wavelength > 8192 ? 8 : 1 / ((1 - smooth) / 8 + smooth);
    }
    return divisors;
  }

  private static byte[] floats(double[] values) {
    java.nio.ByteBuffer bytes =
        java.nio.ByteBuffer.allocate(4 * values.length).order(java.nio.ByteOrder.LITTLE_ENDIAN);
    Arrays.stream(values).forEach(value -> bytes.putFloat((float) value));
    return bytes.array();
  }

  @Test
  void llama3sScalingIsFoundInItsDivisors() {
    FamilyFolders.write(new LlamaFamilyModel("llama", 2, 8, SCALING), folder, SafetensorsType.F64);
    double[] divisors = divisors(8, 500_000);
    assertThat(divisors[2]).isBetween(1.5, 7.5);
    GgufWriter writer = GgufFiles.converted(folder, GgufFiles.F64);
    GgufFiles.write(
        file(),
        writer.tensor("rope_freqs.weight", GgufFiles.F32, new long[] {4}, floats(divisors)));
    assertSameModel(file(), folder, Precision.FLOAT64);

    divisors[2] *= 1.01;
    GgufFiles.write(
        file(),
        writer.tensor("rope_freqs.weight", GgufFiles.F32, new long[] {4}, floats(divisors)));
    assertRefused("rope_freqs.weight is not that of Llama");
  }

  private void assertRefused(String part) {
    assertThatThrownBy(() -> Checkpoints.load(file()))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining(file().toString())
        .hasMessageContaining(part);
  }

  private void assertRefused(String part, Consumer<GgufWriter> change) {
    GgufWriter writer = GgufFiles.converted(folder, GgufFiles.F32);
    change.accept(writer);
    GgufFiles.write(file(), writer);
    assertRefused(part);
  }

  @Test
  void refusesWhatItCannotRun() {
    FamilyFolders.write(FamilyModels.named("llama"), folder, SafetensorsType.F64);
    assertRefused("one of [llama, qwen2, qwen3]", w -> w.put("general.architecture", "gemma2"));
    assertRefused(
        "llama.attention.sliding_window is 4096",
        w -> w.put("llama.attention.sliding_window", 4096));
    assertRefused(
        "llama.attention.head_count_kv is an array",
        w -> w.put("llama.attention.head_count_kv", List.of("4", "4")));
    assertRefused(
        "llama.block_count is \"3\", expected a positive integer",
        w -> w.put("llama.block_count", "3"));
    assertRefused(
        "30 tensors, too few for the 2000000000 blocks",
        w -> w.put("llama.block_count", 2_000_000_000));
    assertRefused("blk.3.attn_norm.weight is missing", w -> w.put("llama.block_count", 4));
    assertRefused("no place for blk.2", w -> w.put("llama.block_count", 2));
    assertRefused(
        "llama.rope.dimension_count is 2, expected the width of a head",
        w -> w.put("llama.rope.dimension_count", 2));
    assertRefused(
        "llama.rope.scaling.type is \"yarn\"", w -> w.put("llama.rope.scaling.type", "yarn"));
    assertRefused(
        "tensor x is Q4_K, expected one of [F32, F16, Q8_0, F64, BF16]; llama.cpp's llama-quantize",
        w -> w.tensor("x", 12, new long[] {256}, new byte[144]));
    assertRefused("tensor x is Q4_0,", w -> w.tensor("x", 2, new long[] {32}, new byte[18]));
    assertRefused("x is IQ4_XS,", w -> w.tensor("x", 23, new long[] {256}, new byte[136]));
    assertRefused("x is MXFP4,", w -> w.tensor("x", 39, new long[] {32}, new byte[17]));
    assertRefused("x is of GGML's type 99", w -> w.tensor("x", 99, new long[] {32}, new byte[1]));
    assertRefused("llama.expert_count is 8", w -> w.put("llama.expert_count", 8));
    assertRefused("llama.attention.causal is false", w -> w.put("llama.attention.causal", false));
    assertRefused("llama.logit_scale is 0.5", w -> w.put("llama.logit_scale", 0.5f));
    assertRefused(
        "general.type is \"adapter\", expected model", w -> w.put("general.type", "adapter"));
    assertRefused("split.count is 2, expected 1 (llama-gguf-split", w -> w.put("split.count", 2));
    assertRefused(
        "llama.rope.scaling.factor is 2.0, expected 1 beside the tensor rope_freqs.weight",
        w ->
            w.put("llama.rope.scaling.factor", 2f)
                .tensor("rope_freqs.weight", GgufFiles.F32, new long[] {1}, new byte[4]));
    assertRefused(
        "x of type Q8_0: impossible shape [4, 8]",
        w -> w.tensor("x", GgufFiles.Q8_0, new long[] {4, 8}, new byte[34]));
    assertRefused("no place for x", w -> w.tensor("x", GgufFiles.F32, new long[] {1}, new byte[4]));
    assertRefused(
        "has shape [29, 8], expected [29, 16] from its metadata",
        w -> w.tensor("output.weight", GgufFiles.F32, new long[] {29, 8}, new byte[29 * 32]));
    assertRefused(
        "a size that no file has",
        w -> w.tensor("x", GgufFiles.F32, new long[] {1L << 40, 1L << 40}, new byte[4]));
  }

  @Test
  void keysOfOldConvertersThatChangeNothingPass() {
    FamilyFolders.write(FamilyModels.named("llama"), folder, SafetensorsType.F64);
    GgufFiles.write(
        file(),
        GgufFiles.converted(folder, GgufFiles.F64)
            .put("general.type", "model")
            .put("split.count", 1)
            .put("llama.tensor_data_layout", "Meta AI original pth")
            .put("llama.expert_count", 0)
            .put("llama.expert_used_count", 0)
            .put("llama.attention.causal", true)
            .put("llama.attention.sliding_window", 0)
            .put("llama.attention.clamp_kqv", 0f)
            .put("llama.use_parallel_residual", false)
            .put("llama.rope.scale_linear", 1f)
            .put("llama.rope.scaling.type", "none")
            .put("llama.rope.scaling.finetuned", true)
            .put("llama.rope.scaling.original_context_length", 16));
    assertSameModel(file(), folder, Precision.FLOAT64);
  }

  /** As llama.cpp reads them: a factor without a type is linear, and the type none ignores it. */
  @ParameterizedTest
  @ValueSource(strings = {"rope.scaling.factor", "rope.scale_linear"})
  void aFactorOfPositionsWithoutItsTypeIsRead(String key) {
    FamilyFolders.write(FamilyModels.named("llama linear scaling"), folder, SafetensorsType.F64);
    Path plain = folder.resolve("plain");
    FamilyFolders.write(FamilyModels.named("llama"), plain, SafetensorsType.F64);
    GgufWriter writer = GgufFiles.converted(plain, GgufFiles.F64).put("llama." + key, 4f);
    GgufFiles.write(file(), writer);
    assertSameModel(file(), folder, Precision.FLOAT64);
    GgufFiles.write(file(), writer.put("llama.rope.scaling.type", "none"));
    assertSameModel(file(), plain, Precision.FLOAT64);
  }

  @Test
  void theMetadataAreTheConfiguration() throws IOException {
    FamilyFolders.write(FamilyModels.named("llama grouped"), folder, SafetensorsType.F64);
    GgufFiles.convert(folder, file(), GgufFiles.F32);
    HuggingFaceConfig config = HuggingFaceConfig.read(file());
    assertThat(config.transformer()).isEqualTo(HuggingFaceConfig.read(folder).transformer());
    assertThat(config.bosTokenId()).hasValue(3);
    assertThat(config.eosTokenIds()).isEmpty();
    GgufFiles.write(
        file(),
        GgufFiles.converted(folder, GgufFiles.F32)
            .put("tokenizer.ggml.eos_token_id", 5)
            .put("tokenizer.ggml.eot_token_id", 6)
            .put("tokenizer.ggml.eom_token_id", 5));
    assertThat(HuggingFaceConfig.read(file()).eosTokenIds()).containsExactly(5, 6);
    GgufFiles.convert(folder, file(), GgufFiles.F32);
    Path blob = Files.copy(file(), folder.resolve("sha256-1234"));
    assertThat(HuggingFaceConfig.read(blob)).isEqualTo(config);
  }

  @Test
  void everyTruncationIsRefused() throws IOException {
    FamilyFolders.write(FamilyModels.named("llama"), folder, SafetensorsType.F64);
    byte[] whole = GgufFiles.converted(folder, GgufFiles.F32).bytes();
    Random random = new Random(9);
    for (int i = 0; i < 300; i++) {
      int length = i < 150 ? i : random.nextInt(whole.length);
      Files.write(file(), Arrays.copyOf(whole, length));
      assertRefused("");
    }
  }

  @Test
  void filesThatAreNoneAreNamed() throws IOException {
    Files.writeString(file(), "{\"model_type\": \"llama\"}");
    assertRefused("expected a GGUF file (a Hugging Face model is named by its folder)");
    byte[] future = "GGUF\4\0\0\0".getBytes(StandardCharsets.US_ASCII);
    Files.write(file(), future);
    assertRefused("GGUF version is 4");
    assertThatThrownBy(() -> Tokenizer.load(file()))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("tokenizer.json of the model that the file was made from");
  }
}
