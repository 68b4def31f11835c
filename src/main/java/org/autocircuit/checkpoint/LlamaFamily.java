package org.autocircuit.checkpoint;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.List;
import org.autocircuit.model.Activation;
import org.autocircuit.model.Biases;
import org.autocircuit.model.Norm;
import org.autocircuit.model.TransformerConfig;

/**
 * {@code llama} (Touvron et al., 2023): RMSNorm, rotary positions, grouped queries, gated MLP, no
 * biases but for those of {@code attention_bias}. The families that followed differ from it in
 * single settings.
 */
sealed class LlamaFamily extends ModelFamily
    permits MistralFamily, Qwen2Family, Qwen3Family, Gemma2Family {

  private static final String PREFIX = "model.";

  private final Usual usual;

  /**
   * Holds what absent sizes are.
   *
   * @param nKeyValueHeads 0: as many as query heads, which null means, too
   * @param dHead 0: the model's width shared out
   */
  record Usual(int nCtx, int nKeyValueHeads, int dHead) {}

  LlamaFamily() {
    this("llama", "LlamaForCausalLM", false, new Usual(2048, 0, 0));
  }

  LlamaFamily(String modelType, String architecture, boolean tiedByDefault, Usual usual) {
    super(modelType, architecture, PREFIX, tiedByDefault);
    this.usual = usual;
  }

  @Override
  final TransformerConfig read(ConfigReader reader) {
    requireUsual(reader);
    reader.requireUnset("mlp_bias", false);
    int nHeads = reader.positiveInt("num_attention_heads");
    boolean usualHeads = !reader.has("num_key_value_heads") && usual.nKeyValueHeads > 0;
    int nKeyValueHeads =
        usualHeads ? usual.nKeyValueHeads : reader.positiveInt("num_key_value_heads", nHeads);
    if (nHeads % nKeyValueHeads != 0) {
      throw reader.error(
          "num_key_value_heads",
          nKeyValueHeads,
          "a divisor of num_attention_heads, which is " + nHeads);
    }
    int nCtx = reader.positiveInt("max_position_embeddings", usual.nCtx);
    int dHead = headWidth(reader);
    TransformerConfig.Builder builder =
        TransformerConfig.builder()
            .nLayers(reader.positiveInt("num_hidden_layers"))
            .dModel(reader.positiveInt("hidden_size"))
            .nHeads(nHeads)
            .nKeyValueHeads(nKeyValueHeads)
            .dHead(dHead)
            .dMlp(reader.positiveInt("intermediate_size"))
            .dVocab(reader.positiveInt("vocab_size"))
            .nCtx(nCtx)
            .norm(Norm.rmsNorm(reader.positiveNumber("rms_norm_eps", 1e-6)))
            .rotary(RotaryKeys.read(reader, dHead, nCtx))
            .activation(reader.activation("hidden_act", Activation.SILU))
            .gatedMlp(true);
    readBiases(reader, builder);
    readDifferences(reader, builder);
    return builder.build();
  }

  private int headWidth(ConfigReader reader) {
    if (usual.dHead > 0) {
      return reader.has("head_dim") ? reader.positiveInt("head_dim") : usual.dHead;
    }
    return reader.isSet("head_dim")
        ? reader.positiveInt("head_dim")
        : evenHeads(reader, "hidden_size", "num_attention_heads");
  }

  /** Which attention projections have biases. */
  void readBiases(ConfigReader reader, TransformerConfig.Builder builder) {
    boolean attention = reader.flag("attention_bias", false);
    builder.biases(new Biases(attention, attention, false));
  }

  /** Reads the other settings that differ from Llama's. */
  void readDifferences(ConfigReader reader, TransformerConfig.Builder builder) {}

  @Override
  void write(TransformerConfig config, ObjectNode json) {
    json.put("num_hidden_layers", config.nLayers());
    json.put("hidden_size", config.dModel());
    json.put("num_attention_heads", config.nHeads());
    json.put("num_key_value_heads", config.nKeyValueHeads());
    json.put("head_dim", config.dHead());
    json.put("intermediate_size", config.dMlp());
    json.put("vocab_size", config.dVocab());
    json.put("max_position_embeddings", config.nCtx());
    json.put("rms_norm_eps", config.eps());
    json.put("hidden_act", config.activation().text());
    json.put("attention_bias", config.biases().attentionOutput());
    config.rotary().ifPresent(rotary -> RotaryKeys.write(rotary, json));
  }

  @Override
  final List<StoredWeight> embeddings(TransformerConfig config) {
    return List.of(
        StoredWeight.same(
            "embed.W_E", PREFIX + "embed_tokens.weight", config.dVocab(), config.dModel()));
  }

  @Override
  final List<StoredWeight> block(TransformerConfig config, int block) {
    int d = config.dModel();
    int dHead = config.dHead();
    long heads = (long) config.nHeads() * dHead;
    long kv = (long) config.nKeyValueHeads() * dHead;
    long mlp = config.dMlp();
    String to = "blocks." + block + ".";
    String from = PREFIX + "layers." + block + ".";
    String attn = from + "self_attn.";
    List<StoredWeight> weights =
        new ArrayList<>(norm(to + "ln1", from + "input_layernorm", config, d));
    weights.add(
        StoredWeight.linear(
            to + "attn.W_QKV",
            StoredWeight.part(attn + "q_proj.weight", heads, d),
            StoredWeight.part(attn + "k_proj.weight", kv, d),
            StoredWeight.part(attn + "v_proj.weight", kv, d)));
    if (config.biases().qkv()) {
      weights.add(
          StoredWeight.joined(
              to + "attn.b_QKV",
              StoredWeight.part(attn + "q_proj.bias", heads),
              StoredWeight.part(attn + "k_proj.bias", kv),
              StoredWeight.part(attn + "v_proj.bias", kv)));
    }
    if (config.attentionScores().qkNorm()) {
      weights.addAll(norm(to + "attn.q_norm", attn + "q_norm", config, dHead));
      weights.addAll(norm(to + "attn.k_norm", attn + "k_norm", config, dHead));
    }
    weights.add(
        StoredWeight.linear(to + "attn.W_O", StoredWeight.part(attn + "o_proj.weight", d, heads)));
    if (config.biases().attentionOutput()) {
      weights.add(StoredWeight.same(to + "attn.b_O", attn + "o_proj.bias", d));
    }
    weights.addAll(norms(config, to, from));
    weights.add(
        StoredWeight.linear(
            to + "mlp.W_gate", StoredWeight.part(from + "mlp.gate_proj.weight", mlp, d)));
    weights.add(
        StoredWeight.linear(
            to + "mlp.W_in", StoredWeight.part(from + "mlp.up_proj.weight", mlp, d)));
    weights.add(
        StoredWeight.linear(
            to + "mlp.W_out", StoredWeight.part(from + "mlp.down_proj.weight", d, mlp)));
    return weights;
  }

  /** The norms behind attention. */
  List<StoredWeight> norms(TransformerConfig config, String to, String from) {
    return norm(to + "ln2", from + "post_attention_layernorm", config, config.dModel());
  }

  @Override
  final List<StoredWeight> ending(TransformerConfig config) {
    return norm("ln_final", PREFIX + "norm", config, config.dModel());
  }
}
