package org.autocircuit.checkpoint;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.Supplier;

/** Models of every family, in the variants that their files come in. */
public final class FamilyModels {

  private static final String THETA = "{'rope_theta': 100.0%s}";

  private static final Map<String, Supplier<FamilyModel>> ALL = new LinkedHashMap<>();

  static {
    ALL.put("gpt2", () -> GptFamilyModels.gpt2(true));
    ALL.put("gpt2 untied", () -> GptFamilyModels.gpt2(false));
    ALL.put("gpt_neox", () -> GptFamilyModels.gptNeox(true, true));
    ALL.put("gpt_neox sequential, no biases", () -> GptFamilyModels.gptNeox(false, false));
    ALL.put("gptj", GptFamilyModels::gptJ);
    llama("llama", "llama", 4, 4, "");
    llama("llama grouped", "llama", 2, 4, ", 'tie_word_embeddings': true");
    llama("llama one kv head, biases", "llama", 1, 4, ", 'attention_bias': true");
    llama(
        "llama linear scaling", "llama", 4, 4, ", 'rope_scaling': {'type': 'linear', 'factor': 4}");
    llama(
        "llama 3.1 scaling",
        "llama",
        2,
        8,
        ", 'rope_scaling': {'rope_type': 'llama3', 'factor': 8.0, 'low_freq_factor': 1.0,"
            + " 'high_freq_factor': 4.0, 'original_max_position_embeddings': 30}");
    llama(
        "llama, new rope keys",
        "llama",
        4,
        4,
        ", 'rope_parameters': {'rope_type': 'default', 'rope_theta': 50.0}");
    llama(
        "llama, base beside new rope keys",
        "llama",
        4,
        4,
        ", 'rope_parameters': {'rope_type': 'linear', 'factor': 2.0}");
    llama("mistral", "mistral", 2, 4, ", 'sliding_window': 4");
    llama("mistral no window", "mistral", 2, 6, ", 'sliding_window': null");
    llama("qwen2", "qwen2", 2, 4, ", 'use_sliding_window': false, 'sliding_window': 4");
    llama(
        "qwen2 windows, tied",
        "qwen2",
        2,
        4,
        ", 'use_sliding_window': true, 'sliding_window': 3, 'max_window_layers': 0,"
            + " 'tie_word_embeddings': true");
    llama("qwen3", "qwen3", 2, 6, "");
    llama(
        "gemma2",
        "gemma2",
        2,
        6,
        ", 'hidden_activation': 'gelu_pytorch_tanh', 'sliding_window': 3,"
            + " 'query_pre_attn_scalar': 9, 'attn_logit_softcapping': 1.5,"
            + " 'final_logit_softcapping': 2.0");
    llama(
        "gemma2 untied, no caps",
        "gemma2",
        4,
        6,
        ", 'sliding_window': 3, 'query_pre_attn_scalar': 6, 'attn_logit_softcapping': null,"
            + " 'final_logit_softcapping': null, 'tie_word_embeddings': false");
  }

  private FamilyModels() {}

  private static void llama(String name, String modelType, int kv, int dHead, String settings) {
    ALL.put(name, () -> new LlamaFamilyModel(modelType, kv, dHead, THETA.formatted(settings)));
  }

  public static String[] names() {
    return ALL.keySet().toArray(String[]::new);
  }

  /** The same model at each call, in the innermost scope. */
  static FamilyModel named(String name) {
    return ALL.get(name).get();
  }
}
