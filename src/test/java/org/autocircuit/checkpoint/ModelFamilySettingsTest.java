package org.autocircuit.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Path;
import java.util.SplittableRandom;
import org.autocircuit.NativeScope;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.internal.StrictJson;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Precision;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * The keys of {@code config.json}: each that is read matters, each that is not supported throws.
 */
@ExtendWith(NativeScope.class)
@Tag("slow")
class ModelFamilySettingsTest {

  @TempDir Path folder;

  static String[] names() {
    return FamilyModels.names();
  }

  /** Sets a key, or one inside an object after a dot; "absent" removes it. */
  private static void set(ObjectNode config, String key, String value) {
    int dot = key.indexOf('.');
    ObjectNode object = dot < 0 ? config : (ObjectNode) config.get(key.substring(0, dot));
    String last = key.substring(dot + 1);
    if (value.equals("absent")) {
      object.remove(last);
      return;
    }
    try {
      object.set(last, StrictJson.MAPPER.readTree(value.replace('\'', '"')));
    } catch (JsonProcessingException e) {
      throw new IllegalArgumentException(value, e);
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "gpt2 | layer_norm_epsilon | 0.01",
        "gpt2 | activation_function | 'relu'",
        "gpt_neox | rotary_pct | 1.0",
        "gpt_neox | rotary_emb_base | 600",
        "gpt_neox | rope_parameters | {'rope_theta': 600.0, 'partial_rotary_factor': 0.5}",
        "gpt_neox | rope_scaling | {'type': 'linear', 'factor': 2}",
        "gpt_neox | layer_norm_eps | 0.01",
        "gpt_neox | hidden_act | 'relu'",
        "gpt_neox | use_parallel_residual | false",
        "gptj | rotary_dim | 6",
        "gptj | activation_function | 'gelu'",
        "llama | rope_theta | 50",
        "llama | rms_norm_eps | 0.01",
        "llama | hidden_act | 'gelu'",
        "llama 3.1 scaling | rope_scaling | null",
        "llama 3.1 scaling | rope_scaling.factor | 4",
        "llama 3.1 scaling | rope_scaling.low_freq_factor | 2",
        "llama 3.1 scaling | rope_scaling.high_freq_factor | 5",
        "llama 3.1 scaling | rope_scaling.original_max_position_embeddings | 25",
        "llama linear scaling | rope_scaling.factor | 3",
        "mistral | sliding_window | null",
        "mistral | sliding_window | 5",
        "mistral | sliding_window | absent",
        "qwen2 windows, tied | use_sliding_window | false",
        "qwen2 windows, tied | max_window_layers | 3",
        "qwen2 windows, tied | sliding_window | null",
        "qwen2 windows, tied | layer_types |"
            + " ['sliding_attention', 'full_attention', 'full_attention']",
        "gemma2 | query_pre_attn_scalar | 10",
        "gemma2 | attn_logit_softcapping | 1.6",
        "gemma2 | attn_logit_softcapping | null",
        "gemma2 | attn_logit_softcapping | absent",
        "gemma2 | final_logit_softcapping | 3",
        "gemma2 | final_logit_softcapping | absent",
        "gemma2 | sliding_window | 2",
        "gemma2 | layer_types | ['full_attention', 'full_attention', 'full_attention']",
        "gemma2 | layer_types | ['sliding_attention', 'sliding_attention', 'sliding_attention']",
        "gemma2 | hidden_activation | 'gelu'",
      })
  void eachKeyChangesTheLogits(String name, String key, String value) {
    FamilyModel model = FamilyModels.named(name);
    FamilyFolders.write(model, folder, SafetensorsType.F64);
    Tensor usual = logits();
    set(model.config, key, value);
    FamilyFolders.writeConfig(model.config, folder);
    assertThat(logits().sub(usual).abs().max().item_double()).isGreaterThan(1e-6);
    HuggingFaceConfig config = HuggingFaceConfig.read(folder);
    config.write(folder);
    assertThat(HuggingFaceConfig.read(folder)).isEqualTo(config);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "llama | hidden_act | 'swish'",
        "gpt2 | activation_function | 'gelu_python_tanh'",
        "gpt_neox | hidden_act | 'gelu_python'",
        "gpt_neox | rope_parameters | {'rope_type': 'default'}",
        "gpt_neox | rope_parameters | {'rope_theta': null, 'partial_rotary_factor': null}",
        "gpt_neox | rope_theta | 77",
        "llama | rope_parameters | {}",
        "llama | rope_scaling | {}",
        "llama | rope_scaling | {'type': null, 'factor': null}",
        "llama | rope_scaling | {'rope_type': 'default', 'factor': null, 'attn_factor': null}",
        "llama linear scaling | rope_scaling |"
            + " {'rope_type': 'linear', 'factor': 4, 'low_freq_factor': null}",
        "llama linear scaling | rope_parameters | {'rope_theta': 70.0}",
        "llama, new rope keys | rope_scaling | {}",
        "llama, new rope keys | rope_theta | 70",
        "llama 3.1 scaling | original_max_position_embeddings | 30",
      })
  void otherSpellingsAreTheSame(String name, String key, String value) {
    FamilyModel model = FamilyModels.named(name);
    FamilyFolders.writeConfig(model.config, folder);
    HuggingFaceConfig usual = HuggingFaceConfig.read(folder);
    set(model.config, key, value);
    FamilyFolders.writeConfig(model.config, folder);
    assertThat(HuggingFaceConfig.read(folder)).isEqualTo(usual);
  }

  /** The defaults of Hugging Face's own classes. */
  @ParameterizedTest
  @CsvSource({
    "gpt2, n_positions, 1024",
    "gptj, n_positions, 2048",
    "gpt_neox, max_position_embeddings, 2048",
    "llama, max_position_embeddings, 2048",
    "mistral, max_position_embeddings, 131072",
    "qwen2, max_position_embeddings, 32768",
    "qwen3, max_position_embeddings, 32768",
    "gemma2, max_position_embeddings, 8192",
    "llama 3.1 scaling, rope_scaling.original_max_position_embeddings, 32",
    "qwen3, head_dim, 128",
    "gemma2, head_dim, 256",
    "llama grouped, num_key_value_heads, 4",
    "gemma2, num_key_value_heads, 4",
  })
  void absentKeysAreWhatHuggingFaceTakes(String name, String key, String value) {
    ObjectNode config = FamilyModels.named(name).config;
    set(config, key, value);
    FamilyFolders.writeConfig(config, folder);
    HuggingFaceConfig expected = HuggingFaceConfig.read(folder);
    set(config, key, "absent");
    FamilyFolders.writeConfig(config, folder);
    assertThat(HuggingFaceConfig.read(folder)).isEqualTo(expected);
  }

  @ParameterizedTest
  @CsvSource({"mistral, 8", "qwen2, 32", "qwen3, 32"})
  void absentKeyValueHeadsAreTheFamilys(String name, int heads) {
    ObjectNode config = FamilyModels.named(name).config;
    config.put("num_attention_heads", 32).put("hidden_size", 64).remove("num_key_value_heads");
    FamilyFolders.writeConfig(config, folder);
    assertThat(HuggingFaceConfig.read(folder).transformer().nKeyValueHeads()).isEqualTo(heads);
    config.putNull("num_key_value_heads");
    FamilyFolders.writeConfig(config, folder);
    assertThat(HuggingFaceConfig.read(folder).transformer().nKeyValueHeads()).isEqualTo(32);
  }

  private Tensor logits() {
    Tensor tokens = TensorArrays.of(new long[][] {{1, 2, 3, 4, 5, 6, 7}}, "tokens", "cpu");
    try (PatchableModel model =
        PatchableModel.open(
            folder,
            LoadOptions.DEFAULT.withPrecision(Precision.FLOAT64),
            PatchableModelOptions.defaults())) {
      return model.forward(tokens);
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "gpt_neox | rotary_pct | 1.5 | rotary_pct is 1.5, expected a share",
        "gpt_neox | rotary_pct | 0.1 | rotary_pct is 0.1, expected a share",
        "gpt_neox | rotary_pct | 'all' | rotary_pct is \"all\", expected a positive number",
        "gpt_neox | hidden_size | 17 | num_attention_heads is 2, expected a divisor of hidden_size",
        "gpt_neox | num_hidden_layers | absent | num_hidden_layers is missing",
        "gptj | rotary_dim | 3 | rotary_dim is 3, expected an even number of at most",
        "gptj | rotary_dim | 10 | rotary_dim is 10, expected an even number of at most",
        "gptj | rotary_dim | null | rotary_dim is null, expected a positive integer",
        "llama | rope_scaling | {'rope_type': 'yarn', 'factor': 4} |"
            + " rope_scaling.rope_type is \"yarn\", expected one of [default, linear, llama3]",
        "llama | rope_scaling | {'type': 'dynamic', 'factor': 4} |"
            + " rope_scaling.type is \"dynamic\", expected one of [default, linear, llama3]",
        "llama | rope_scaling | {'type': 'linear'} | rope_scaling.factor is missing",
        "llama | rope_scaling | {'type': 'linear', 'factor': -1} | rope_scaling.factor is -1",
        "llama | rope_scaling | {'type': 'linear', 'factor': 2, 'short_factor': [1]} |"
            + " rope_scaling.short_factor is an array, expected no such key",
        "llama | rope_scaling | 'linear' | rope_scaling is \"linear\", expected an object",
        "llama | rope_parameters | {'rope_type': 'longrope'} | rope_parameters.rope_type is",
        "llama | rope_parameters | {'partial_rotary_factor': 0.5} |"
            + " rope_parameters.partial_rotary_factor is 0.5, expected 1",
        "llama 3.1 scaling | rope_scaling.high_freq_factor | 0.5 |"
            + " rope_scaling.high_freq_factor is 0.5, expected a number above low_freq_factor",
        "llama | partial_rotary_factor | 0.5 | partial_rotary_factor is 0.5, expected 1",
        "llama | num_key_value_heads | 3 | num_key_value_heads is 3, expected a divisor of",
        "llama | mlp_bias | true | mlp_bias is true, expected false (nothing else is supported)",
        "llama | head_dim | 5 | partial_rotary_factor is 1.0, expected 1, of a head of even width",
        "llama | hidden_act | 'mish' | hidden_act is \"mish\", expected one of [gelu_new, gelu,",
        "llama | quantization_config | {'bits': 4} | quantization_config is an object",
        "llama | rms_norm_eps | 0 | rms_norm_eps is 0, expected a positive number",
        "mistral | attention_bias | true | attention_bias is true, expected false",
        "mistral | sliding_window | 0 | sliding_window is 0, expected a positive integer",
        "qwen2 windows, tied | max_window_layers | 2 | max_window_layers is 2, expected 0 or at",
        "qwen2 windows, tied | max_window_layers | -1 | max_window_layers is -1, expected",
        "qwen2 windows, tied | layer_types | ['full_attention', 'full_attention',"
            + " 'sliding_attention'] | layer_types is another pattern, expected sliding_attention"
            + " in",
        "qwen2 windows, tied | layer_types | ['chunked_attention'] |"
            + " layer_types is [… \"chunked_attention\" …], expected only",
        "qwen2 windows, tied | layer_types | ['full_attention'] |"
            + " layer_types is an array of 1, expected as many as num_hidden_layers, which is 3",
        "qwen2 windows, tied | layer_types | 7 | layer_types is 7, expected an array of strings",
        "qwen3 | head_dim | null | head_dim is null, expected a positive integer",
        "gemma2 | head_dim | null | head_dim is null, expected a positive integer",
        "gemma2 | sliding_window | null | sliding_window is null, expected a positive integer",
        "gemma2 | attention_bias | true | attention_bias is true, expected false",
        "gemma2 | use_bidirectional_attention | true | use_bidirectional_attention is true",
        "gemma2 | attn_logit_softcapping | 0 | attn_logit_softcapping is 0, expected a positive",
        "gemma2 | model_type | 'gemma3' | model_type is \"gemma3\", expected one of [gpt2,"
            + " gpt_neox,",
        "gpt2 | model_type | absent | model_type is missing, expected one of [gpt2, gpt_neox,",
      })
  void namesFileKeyValueAndWhatIsSupported(String name, String key, String value, String message) {
    FamilyModel model = FamilyModels.named(name);
    set(model.config, key, value);
    FamilyFolders.writeConfig(model.config, folder);
    assertThatThrownBy(() -> HuggingFaceConfig.read(folder))
        .isInstanceOf(CheckpointException.class)
        .hasMessageStartingWith(folder.resolve("config.json") + ": " + message);
  }

  @Test
  void hugeClaimsCostNothing() {
    for (String name : new String[] {"gpt2", "llama", "gemma2", "qwen3"}) {
      FamilyModel model = FamilyModels.named(name);
      model.config.put(name.equals("gpt2") ? "n_layer" : "num_hidden_layers", Integer.MAX_VALUE);
      FamilyFolders.write(model, folder, SafetensorsType.F32);
      assertThat(HuggingFaceConfig.read(folder).nWeights()).isGreaterThan(Integer.MAX_VALUE);
      assertThatThrownBy(() -> Checkpoints.load(folder))
          .isInstanceOf(CheckpointException.class)
          .hasMessageContaining("too few for the 2147483647 blocks");
    }
  }

  @ParameterizedTest
  @MethodSource("names")
  void anyValueGivesACheckpointExceptionOrAConfig(String name) {
    String[] values = {
      "null",
      "0",
      "-1",
      "1",
      "7",
      "0.5",
      "1e300",
      "true",
      "false",
      "''",
      "[]",
      "{}",
      "[[1]]",
      "2147483647",
      "99999999999",
      "{'type': 'linear', 'factor': 1e-300}",
      "{'rope_theta': 1e308}"
    };
    ObjectNode usual = FamilyModels.named(name).config;
    SplittableRandom random = new SplittableRandom(1);
    for (String key : (Iterable<String>) usual.deepCopy()::fieldNames) {
      for (String value : values) {
        ObjectNode config = usual.deepCopy();
        set(config, key, value);
        set(config, random.nextBoolean() ? "rope_parameters" : "sliding_window", value);
        FamilyFolders.writeConfig(config, folder);
        try {
          JsonNode back = config.get("model_type");
          assertThat(HuggingFaceConfig.read(folder).modelType()).isEqualTo(back.textValue());
        } catch (CheckpointException e) {
          assertThat(e).hasMessageContaining(folder.resolve("config.json").toString());
        }
      }
    }
  }
}
