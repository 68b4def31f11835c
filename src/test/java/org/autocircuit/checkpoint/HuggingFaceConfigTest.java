package org.autocircuit.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.SplittableRandom;
import org.autocircuit.RandomModels;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.model.TransformerConfig;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class HuggingFaceConfigTest {
  // The file that comes with OpenAI's GPT-2, as far as it is read.
  private static final String GPT2 =
      """
      {
        "activation_function": "gelu_new",
        "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": 0.1,
        "bos_token_id": 50256,
        "eos_token_id": 50256,
        "layer_norm_epsilon": 1e-05,
        "model_type": "gpt2",
        "n_ctx": 1024,
        "n_embd": 768,
        "n_head": 12,
        "n_layer": 12,
        "n_positions": 1024,
        "vocab_size": 50257,
        "summary_type": "cls_index"
      }
      """;

  @TempDir Path folder;

  private Path file(String json) throws IOException {
    return Files.writeString(folder.resolve("config.json"), json);
  }

  /** GPT-2's file with one key set to a JSON value, or without it where the value is null. */
  private Path changed(String key, String value) throws IOException {
    String without = GPT2.replaceAll("(?m)^  \"" + key + "\":.*\n", "");
    return file(
        value == null ? without : without.replaceFirst("\\{", "{\"" + key + "\": " + value + ","));
  }

  @Test
  void readsGpt2() throws IOException {
    HuggingFaceConfig config = HuggingFaceConfig.read(file(GPT2));
    assertThat(config.transformer())
        .isEqualTo(RandomModels.config(12, 768, 12, 64, 3072, 50257, 1024));
    assertThat(config.tiedEmbedding()).isTrue();
    assertThat(config.bosTokenId()).hasValue(50256);
    assertThat(HuggingFaceConfig.read(folder)).isEqualTo(config);
  }

  @Test
  void writesWhatItReads() {
    HuggingFaceConfig config =
        HuggingFaceConfig.of(
                RandomModels.config(2, 16, 4, 4, 32, 101, 32).toBuilder().eps(1e-6).build())
            .withTiedEmbedding(false)
            .withBosTokenId(0);
    config.write(folder);
    assertThat(HuggingFaceConfig.read(folder)).isEqualTo(config);
    assertThat(folder).isDirectoryNotContaining(file -> file.toString().endsWith(".tmp"));
  }

  @Test
  void knowsEveryTokenThatEndsASequence() throws IOException {
    assertThat(ends("null", null)).isEmpty();
    assertThat(ends("7", null)).containsExactly(7);
    assertThat(ends("[7, 8, 7]", null)).containsExactly(7, 8);
    assertThat(ends("7", "{\"eos_token_id\": [9, 7]}")).containsExactly(7, 9);
    assertThat(ends("null", "{\"eos_token_id\": 9, \"temperature\": 0.6}")).containsExactly(9);
    assertThat(ends("7", "{}")).containsExactly(7);
    assertThat(ends("[50256, 50257]", "{\"eos_token_id\": 60000}")).containsExactly(50256);
    HuggingFaceConfig config =
        HuggingFaceConfig.of(RandomModels.config(2, 16, 4, 4, 32, 101, 32))
            .withEosTokenIds(List.of(4, 2, 4));
    Path written = Files.createDirectory(folder.resolve("written"));
    config.write(written);
    assertThat(HuggingFaceConfig.read(written)).isEqualTo(config);
    assertThat(HuggingFaceConfig.read(written).eosTokenIds()).containsExactly(4, 2);
    assertThatThrownBy(() -> ends("7", "{\"eos_token_id\": [9, \"</s>\"]}"))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("generation_config.json")
        .hasMessageContaining("token id");
  }

  private List<Integer> ends(String config, String generation) throws IOException {
    Path beside = folder.resolve("generation_config.json");
    Files.deleteIfExists(beside);
    if (generation != null) {
      Files.writeString(beside, generation);
    }
    return HuggingFaceConfig.read(changed("eos_token_id", config)).eosTokenIds();
  }

  @Test
  void knowsDefaultsAndOldNames() throws IOException {
    assertThat(HuggingFaceConfig.read(changed("n_inner", "null")).transformer().dMlp())
        .isEqualTo(3072);
    assertThat(HuggingFaceConfig.read(changed("n_inner", "100")).transformer().dMlp())
        .isEqualTo(100);
    assertThat(HuggingFaceConfig.read(changed("n_positions", null)).transformer().nCtx())
        .isEqualTo(1024);
    assertThat(HuggingFaceConfig.read(changed("layer_norm_epsilon", null)).transformer().eps())
        .isEqualTo(1e-5);
    assertThat(HuggingFaceConfig.read(changed("tie_word_embeddings", "false")).tiedEmbedding())
        .isFalse();
    assertThat(HuggingFaceConfig.read(changed("bos_token_id", null)).bosTokenId()).isEmpty();
    assertThat(HuggingFaceConfig.read(changed("scale_attn_weights", "true"))).isNotNull();
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '\'',
      value = {
        "model_type | '\"bert\"' | [gpt2, gpt_neox, gptj, llama, mistral, qwen2, qwen3, gemma2]",
        "activation_function | '\"mish\"' | gelu_new",
        "activation_function | 7 | gelu_new",
        "scale_attn_by_inverse_layer_idx | true | false",
        "reorder_and_upcast_attn | true | false",
        "add_cross_attention | true | false",
        "add_cross_attention | 1 | true or false",
        "scale_attn_weights | false | true",
        "pruned_heads | '{\"0\": [1]}' | no pruned heads",
        "quantization_config | '{\"bits\": 4}' | no such key",
        "n_layer | 0 | positive integer",
        "n_layer | -3 | positive integer",
        "n_layer | 1.5 | positive integer",
        "n_layer | '\"12\"' | positive integer",
        "n_layer | null | positive integer",
        "n_layer | 99999999999999999999 | positive integer",
        "n_head | 7 | divisor of n_embd",
        "n_embd | 1073741832 | fourfold",
        "n_inner | '[]' | positive integer",
        "n_positions | '{}' | positive integer",
        "vocab_size | true | positive integer",
        "layer_norm_epsilon | 0 | positive number",
        "layer_norm_epsilon | 1e999 | positive number",
        "layer_norm_epsilon | '\"small\"' | positive number",
        "tie_word_embeddings | 1 | true or false",
        "bos_token_id | -1 | token id",
        "eos_token_id | '[]' | token id",
      })
  void namesFileKeyValueAndWhatIsSupported(String key, String value, String expected)
      throws IOException {
    Path file = changed(key, value);
    String shown = value.startsWith("[") ? "an array" : value.startsWith("{") ? "an object" : value;
    assertThatThrownBy(() -> HuggingFaceConfig.read(file))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining(file.toString())
        .hasMessageContaining(key)
        .hasMessageContaining(expected)
        .satisfies(
            e -> {
              if (!shown.equals("1e999")) {
                assertThat(e).hasMessageContaining(shown);
              }
            });
  }

  @ParameterizedTest
  @ValueSource(strings = {"model_type", "n_layer", "n_embd", "n_head", "vocab_size"})
  void namesAMissingKey(String key) throws IOException {
    Path file = changed(key, null);
    assertThatThrownBy(() -> HuggingFaceConfig.read(file))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining(key + " is missing");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        "  ",
        "[]",
        "null",
        "7",
        "{",
        "{\"a\": ",
        "{} {}",
        "{\"model_type\": \"gpt2\", \"model_type\": \"gpt2\"}",
        "\u0000\u0001",
      })
  void refusesWhatIsNoJsonObject(String text) throws IOException {
    Path file = file(text);
    assertThatThrownBy(() -> HuggingFaceConfig.read(file))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining(file.toString());
  }

  @Test
  void refusesDeepNestingAndHugeFiles() throws IOException {
    Path nested = file("{\"a\":" + "[".repeat(100_000));
    assertThatThrownBy(() -> HuggingFaceConfig.read(nested))
        .isInstanceOf(CheckpointException.class);
    Path huge = file("{\"a\":\"" + "x".repeat(17 << 20) + "\"}");
    assertThatThrownBy(() -> HuggingFaceConfig.read(huge))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("at most");
  }

  @Test
  void namesAMissingFile() {
    assertThatThrownBy(() -> HuggingFaceConfig.read(folder))
        .isInstanceOf(CheckpointException.class)
        .hasMessageStartingWith(folder.resolve("config.json") + ": no such file");
  }

  @Test
  void anyDamageGivesACheckpointExceptionOrAConfig() throws IOException {
    SplittableRandom random = new SplittableRandom(1);
    for (int round = 0; round < 1000; round++) {
      byte[] bytes = GPT2.getBytes(java.nio.charset.StandardCharsets.UTF_8);
      for (int change = 0; change < 1 + random.nextInt(3); change++) {
        bytes[random.nextInt(bytes.length)] = (byte) random.nextInt(256);
      }
      Path file = Files.write(folder.resolve("config.json"), bytes);
      try {
        assertThat(HuggingFaceConfig.read(file).transformer().nLayers()).isPositive();
      } catch (CheckpointException e) {
        assertThat(e).hasMessageContaining(file.toString());
      }
    }
  }

  @Test
  void namesWhatAFamilyCannotDescribe() {
    TransformerConfig narrow = RandomModels.config(1, 16, 4, 3, 32, 9, 8);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> HuggingFaceConfig.of(narrow))
        .withMessageContaining("none of Hugging Face's")
        .withMessageContaining("dHead=3");
    assertThatIllegalArgumentException()
        .isThrownBy(
            () ->
                HuggingFaceConfig.of(RandomModels.config(1, 16, 4, 4, 32, 9, 8))
                    .withModelType("llama"))
        .withMessageContaining("llama cannot describe");
  }
}
