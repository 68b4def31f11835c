package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.autocircuit.Close.assertClose;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.autocircuit.checkpoint.Checkpoints;
import org.autocircuit.checkpoint.LoadOptions;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.patch.PatchContext;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Folders in Hugging Face's format, written here byte by byte, against a plain forward. */
@ExtendWith(NativeScope.class)
class CheckpointForwardTest {

  private static final TransformerConfig CONFIG = RandomModels.config(3, 12, 3, 4, 20, 23, 10);

  /** Canonical name to the name in GPT-2's files; N stands for the block. */
  private static final Map<String, String> BLOCK_NAMES =
      Map.ofEntries(
          Map.entry("ln1.w", "ln_1.weight"),
          Map.entry("ln1.b", "ln_1.bias"),
          Map.entry("attn.W_QKV", "attn.c_attn.weight"),
          Map.entry("attn.b_QKV", "attn.c_attn.bias"),
          Map.entry("attn.W_O", "attn.c_proj.weight"),
          Map.entry("attn.b_O", "attn.c_proj.bias"),
          Map.entry("ln2.w", "ln_2.weight"),
          Map.entry("ln2.b", "ln_2.bias"),
          Map.entry("mlp.W_in", "mlp.c_fc.weight"),
          Map.entry("mlp.b_in", "mlp.c_fc.bias"),
          Map.entry("mlp.W_out", "mlp.c_proj.weight"),
          Map.entry("mlp.b_out", "mlp.c_proj.bias"));

  private static final Map<String, String> OTHER_NAMES =
      Map.of(
          "embed.W_E", "wte.weight",
          "pos_embed.W_pos", "wpe.weight",
          "ln_final.w", "ln_f.weight",
          "ln_final.b", "ln_f.bias",
          "unembed.W_U", "lm_head.weight");

  @TempDir Path folder;

  @ParameterizedTest
  @CsvSource({
    "Float, true, transformer., FLOAT32",
    "Float, false, '', FLOAT32",
    "Float, false, transformer., FLOAT64",
    "Half, true, '', FLOAT32",
    "Half, false, transformer., FLOAT64",
    "BFloat16, true, transformer., FLOAT32",
    "BFloat16, false, '', FLOAT64",
    "Double, true, '', FLOAT64"
  })
  void logitsAreThoseOfThePlainForward(
      ScalarType stored, boolean tied, String prefix, Precision precision) throws IOException {
    Map<String, Tensor> weights = RandomModels.weights(CONFIG, ScalarType.Float, tied, 3);
    Map<String, Tensor> rounded = new LinkedHashMap<>();
    weights.forEach((name, weight) -> rounded.put(name, weight.to(stored)));
    write(rounded, tied, prefix);
    Map<String, Tensor> exact = new LinkedHashMap<>();
    rounded.forEach((name, weight) -> exact.put(name, weight.to(precision.scalarType())));

    Tensor tokens = RandomModels.tokens(CONFIG, 2, 7, 4);
    Tensor expected = new PlainGpt2(CONFIG, exact).logits(tokens);
    double tolerance = precision == Precision.FLOAT64 ? 1e-11 : 1e-4;
    PatchableModelOptions options =
        PatchableModelOptions.defaults().withOutputSlice(OutputSlice.ALL);
    LoadOptions load = LoadOptions.DEFAULT.withPrecision(precision);
    try (PatchableModel model = PatchableModel.open(folder, load, options)) {
      assertThat(model.precision()).isEqualTo(precision);
      assertThat(model.config()).isEqualTo(CONFIG);
      assertClose("logits", model.forward(tokens), expected, tolerance);
      long[][] rows = RandomModels.prompts(CONFIG, 2, 7, 4);
      float[][] last = model.logits(rows, PatchContext.NONE);
      double[] lastExpected = TensorArrays.doubles(expected.select(1, -1));
      for (int i = 0; i < lastExpected.length; i++) {
        int v = CONFIG.dVocab();
        assertThat((double) last[i / v][i % v]).isCloseTo(lastExpected[i], within(1e-4));
      }
      model.weights().forEach((name, weight) -> assertClose(name, weight, exact.get(name), 0));
    }
    try (Model model = Checkpoints.load(folder, load)) {
      assertThat(model.tiedEmbedding()).isEqualTo(tied);
    }
  }

  @ParameterizedTest
  @CsvSource({"FLOAT32, true", "FLOAT32, false", "FLOAT64, true", "FLOAT64, false"})
  void savingAndLoadingKeepsEveryBit(Precision precision, boolean tied) throws IOException {
    Map<String, Tensor> weights = RandomModels.weights(CONFIG, precision.scalarType(), tied, 8);
    Tensor tokens = RandomModels.tokens(CONFIG, 2, 10, 5);
    LoadOptions load = LoadOptions.DEFAULT.withPrecision(precision);
    Path first = folder.resolve("first");
    Path second = folder.resolve("second");
    double[] logits;
    try (Model model = Model.of(CONFIG, weights)) {
      assertThat(model.tiedEmbedding()).isEqualTo(tied);
      Checkpoints.save(model, first);
      try (PatchableModel patchable = PatchableModel.of(model, PatchableModelOptions.defaults())) {
        logits = TensorArrays.doubles(patchable.forward(tokens));
      }
    }
    try (Model model = Checkpoints.load(first, load)) {
      assertThat(model.tiedEmbedding()).isEqualTo(tied);
      model.weights().forEach((name, weight) -> assertClose(name, weight, weights.get(name), 0));
      Checkpoints.save(model, second);
      try (PatchableModel patchable = PatchableModel.of(model, PatchableModelOptions.defaults())) {
        assertThat(TensorArrays.doubles(patchable.forward(tokens))).isEqualTo(logits);
      }
    }
    for (String file : List.of("config.json", "model.safetensors")) {
      assertThat(second.resolve(file)).hasSameBinaryContentAs(first.resolve(file));
    }
  }

  @Test
  void aSavedFolderIsLoadedInTheOtherPrecision() throws IOException {
    Map<String, Tensor> weights = RandomModels.weights(CONFIG, ScalarType.Float, false, 8);
    try (Model model = Model.of(CONFIG, weights)) {
      Checkpoints.save(model, folder);
    }
    try (Model model =
        Checkpoints.load(folder, LoadOptions.DEFAULT.withPrecision(Precision.FLOAT64))) {
      model
          .weights()
          .forEach(
              (name, weight) ->
                  assertClose(name, weight, weights.get(name).to(ScalarType.Double), 0));
    }
  }

  /** Writes both files without the library's writer. */
  private void write(Map<String, Tensor> weights, boolean tied, String prefix) throws IOException {
    Files.writeString(
        folder.resolve("config.json"),
        """
        {"model_type": "gpt2", "n_layer": %s, "n_embd": %s, "n_head": %s, "n_inner": %s,
         "vocab_size": %s, "n_positions": %s, "layer_norm_epsilon": %s,
         "activation_function": "gelu_new", "tie_word_embeddings": %s}
        """
            .formatted(
                CONFIG.nLayers(),
                CONFIG.dModel(),
                CONFIG.nHeads(),
                CONFIG.dMlp(),
                CONFIG.dVocab(),
                CONFIG.nCtx(),
                CONFIG.eps(),
                tied));
    List<String> entries = new ArrayList<>();
    List<byte[]> parts = new ArrayList<>();
    long begin = 0;
    for (Map.Entry<String, Tensor> weight : weights.entrySet()) {
      if (tied && weight.getKey().equals("unembed.W_U")) {
        continue;
      }
      byte[] bytes = bytes(weight.getValue());
      parts.add(bytes);
      entries.add(
          "\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%s,%s]}"
              .formatted(
                  fileName(weight.getKey(), prefix),
                  typeName(weight.getValue()),
                  Arrays.toString(weight.getValue().shape()),
                  begin,
                  begin + bytes.length));
      begin += bytes.length;
    }
    byte[] header = ("{" + String.join(",", entries) + "}").getBytes(StandardCharsets.UTF_8);
    ByteBuffer file =
        ByteBuffer.allocate(Math.toIntExact(8 + header.length + begin))
            .order(ByteOrder.LITTLE_ENDIAN);
    file.putLong(header.length).put(header);
    parts.forEach(file::put);
    Files.write(folder.resolve("model.safetensors"), file.array());
  }

  private static String fileName(String canonical, String prefix) {
    if (canonical.equals("unembed.W_U")) {
      return OTHER_NAMES.get(canonical);
    }
    if (!canonical.startsWith("blocks.")) {
      return prefix + OTHER_NAMES.get(canonical);
    }
    String[] words = canonical.split("\\.", 3);
    return prefix + "h." + words[1] + "." + BLOCK_NAMES.get(words[2]);
  }

  private static String typeName(Tensor tensor) {
    return switch (tensor.scalar_type().intern()) {
      case Double -> "F64";
      case Float -> "F32";
      case Half -> "F16";
      case BFloat16 -> "BF16";
      default -> throw new IllegalArgumentException("no name for the type of " + tensor);
    };
  }

  private static byte[] bytes(Tensor tensor) {
    byte[] bytes = new byte[Math.toIntExact(tensor.nbytes())];
    new BytePointer(tensor.contiguous().data_ptr()).get(bytes);
    return bytes;
  }
}
