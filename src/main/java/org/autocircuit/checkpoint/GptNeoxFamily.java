package org.autocircuit.checkpoint;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.List;
import org.autocircuit.model.Activation;
import org.autocircuit.model.Biases;
import org.autocircuit.model.BlockKind;
import org.autocircuit.model.Norm;
import org.autocircuit.model.TransformerConfig;

/**
 * {@code gpt_neox} (Black et al., 2022; Pythia): LayerNorm, rotary positions on a part of each
 * head, attention and MLP in parallel or one after another. Queries, keys and values of a head are
 * neighbours in one linear layer, {@code [heads, 3, d_head]}.
 */
final class GptNeoxFamily extends ModelFamily {

  private static final String PREFIX = "gpt_neox.";

  GptNeoxFamily() {
    super("gpt_neox", "GPTNeoXForCausalLM", PREFIX, false);
  }

  @Override
  TransformerConfig read(ConfigReader reader) {
    requireUsual(reader);
    int dHead = evenHeads(reader, "hidden_size", "num_attention_heads");
    int nCtx = reader.positiveInt("max_position_embeddings", 2048);
    boolean biases = reader.flag("attention_bias", true);
    return TransformerConfig.builder()
        .nLayers(reader.positiveInt("num_hidden_layers"))
        .dModel(reader.positiveInt("hidden_size"))
        .nHeads(reader.positiveInt("num_attention_heads"))
        .dHead(dHead)
        .dMlp(reader.positiveInt("intermediate_size"))
        .dVocab(reader.positiveInt("vocab_size"))
        .nCtx(nCtx)
        .norm(Norm.layerNorm(reader.positiveNumber("layer_norm_eps", 1e-5)))
        .rotary(RotaryKeys.readPartial(reader, dHead, nCtx))
        .activation(reader.activation("hidden_act", Activation.GELU))
        .blockKind(
            reader.flag("use_parallel_residual", true) ? BlockKind.PARALLEL : BlockKind.SEQUENTIAL)
        .biases(new Biases(biases, biases, true))
        .build();
  }

  @Override
  void write(TransformerConfig config, ObjectNode json) {
    json.put("num_hidden_layers", config.nLayers());
    json.put("hidden_size", config.dModel());
    json.put("num_attention_heads", config.nHeads());
    json.put("intermediate_size", config.dMlp());
    json.put("vocab_size", config.dVocab());
    json.put("max_position_embeddings", config.nCtx());
    json.put("layer_norm_eps", config.eps());
    json.put("hidden_act", config.activation().text());
    json.put("use_parallel_residual", config.blockKind() == BlockKind.PARALLEL);
    json.put("attention_bias", config.biases().qkv());
    config.rotary().ifPresent(rotary -> RotaryKeys.writePartial(rotary, config.dHead(), json));
  }

  @Override
  List<StoredWeight> embeddings(TransformerConfig config) {
    return List.of(
        StoredWeight.same(
            "embed.W_E", PREFIX + "embed_in.weight", config.dVocab(), config.dModel()));
  }

  @Override
  List<StoredWeight> block(TransformerConfig config, int block) {
    int d = config.dModel();
    long mlp = config.dMlp();
    String to = "blocks." + block + ".";
    String from = PREFIX + "layers." + block + ".";
    List<StoredWeight> weights =
        new ArrayList<>(norm(to + "ln1", from + "input_layernorm", config, d));
    String qkv = from + "attention.query_key_value";
    weights.add(
        sorted(
            config,
            StoredWeight.linear(to + "attn.W_QKV", StoredWeight.part(qkv + ".weight", 3L * d, d))));
    if (config.biases().qkv()) {
      weights.add(sorted(config, StoredWeight.same(to + "attn.b_QKV", qkv + ".bias", 3L * d)));
    }
    String dense = from + "attention.dense";
    weights.add(StoredWeight.linear(to + "attn.W_O", StoredWeight.part(dense + ".weight", d, d)));
    if (config.biases().attentionOutput()) {
      weights.add(StoredWeight.same(to + "attn.b_O", dense + ".bias", d));
    }
    weights.addAll(norm(to + "ln2", from + "post_attention_layernorm", config, d));
    String in = from + "mlp.dense_h_to_4h";
    String out = from + "mlp.dense_4h_to_h";
    weights.add(StoredWeight.linear(to + "mlp.W_in", StoredWeight.part(in + ".weight", mlp, d)));
    weights.add(StoredWeight.same(to + "mlp.b_in", in + ".bias", mlp));
    weights.add(StoredWeight.linear(to + "mlp.W_out", StoredWeight.part(out + ".weight", d, mlp)));
    weights.add(StoredWeight.same(to + "mlp.b_out", out + ".bias", d));
    return weights;
  }

  private static StoredWeight sorted(TransformerConfig config, StoredWeight weight) {
    return new StoredWeight(weight.name(), weight.source().withFusedHeads(config.nHeads()));
  }

  @Override
  List<StoredWeight> ending(TransformerConfig config) {
    return norm("ln_final", PREFIX + "final_layer_norm", config, config.dModel());
  }

  @Override
  String head() {
    return "embed_out.weight";
  }

  @Override
  boolean isBuffer(String tensor) {
    return super.isBuffer(tensor) || tensor.matches(".*\\.attention\\.(bias|masked_bias)");
  }
}
