package org.autocircuit.checkpoint;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.List;
import org.autocircuit.model.Activation;
import org.autocircuit.model.Norm;
import org.autocircuit.model.TransformerConfig;

/**
 * {@code gpt2} (Radford et al., 2019): LayerNorm, learned positions, biases everywhere. Linear
 * layers are stored {@code [inputs, outputs]}, and queries, keys and values in one, so weights are
 * canonical as they are.
 */
final class Gpt2Family extends ModelFamily {

  private static final String PREFIX = "transformer.";

  Gpt2Family() {
    super("gpt2", "GPT2LMHeadModel", PREFIX, true);
  }

  @Override
  TransformerConfig read(ConfigReader reader) {
    requireUsual(reader);
    reader.requireUnset("scale_attn_by_inverse_layer_idx", false);
    reader.requireUnset("reorder_and_upcast_attn", false);
    reader.requireUnset("scale_attn_weights", true);
    return TransformerConfig.builder()
        .nLayers(reader.positiveInt("n_layer"))
        .dModel(reader.positiveInt("n_embd"))
        .nHeads(reader.positiveInt("n_head"))
        .dHead(evenHeads(reader, "n_embd", "n_head"))
        .dMlp(mlpWidth(reader, "n_inner", "n_embd"))
        .dVocab(reader.positiveInt("vocab_size"))
        .nCtx(reader.positions(1024))
        .norm(Norm.layerNorm(reader.positiveNumber("layer_norm_epsilon", 1e-5)))
        .activation(reader.activation("activation_function", Activation.GELU_NEW))
        .build();
  }

  @Override
  void write(TransformerConfig config, ObjectNode json) {
    json.put("activation_function", config.activation().text());
    json.put("n_layer", config.nLayers());
    json.put("n_embd", config.dModel());
    json.put("n_head", config.nHeads());
    json.put("n_inner", config.dMlp());
    json.put("n_positions", config.nCtx());
    json.put("n_ctx", config.nCtx());
    json.put("vocab_size", config.dVocab());
    json.put("layer_norm_epsilon", config.eps());
  }

  @Override
  List<StoredWeight> embeddings(TransformerConfig config) {
    long d = config.dModel();
    return List.of(
        StoredWeight.same("embed.W_E", PREFIX + "wte.weight", config.dVocab(), d),
        StoredWeight.same("pos_embed.W_pos", PREFIX + "wpe.weight", config.nCtx(), d));
  }

  @Override
  List<StoredWeight> block(TransformerConfig config, int block) {
    int d = config.dModel();
    long heads = (long) config.nHeads() * config.dHead();
    long mlp = config.dMlp();
    String to = "blocks." + block + ".";
    String from = PREFIX + "h." + block + ".";
    List<StoredWeight> weights = new ArrayList<>(norm(to + "ln1", from + "ln_1", config, d));
    weights.add(StoredWeight.same(to + "attn.W_QKV", from + "attn.c_attn.weight", d, 3 * heads));
    weights.add(StoredWeight.same(to + "attn.b_QKV", from + "attn.c_attn.bias", 3 * heads));
    weights.add(StoredWeight.same(to + "attn.W_O", from + "attn.c_proj.weight", heads, d));
    weights.add(StoredWeight.same(to + "attn.b_O", from + "attn.c_proj.bias", d));
    weights.addAll(norm(to + "ln2", from + "ln_2", config, d));
    weights.add(StoredWeight.same(to + "mlp.W_in", from + "mlp.c_fc.weight", d, mlp));
    weights.add(StoredWeight.same(to + "mlp.b_in", from + "mlp.c_fc.bias", mlp));
    weights.add(StoredWeight.same(to + "mlp.W_out", from + "mlp.c_proj.weight", mlp, d));
    weights.add(StoredWeight.same(to + "mlp.b_out", from + "mlp.c_proj.bias", d));
    return weights;
  }

  @Override
  List<StoredWeight> ending(TransformerConfig config) {
    return norm("ln_final", PREFIX + "ln_f", config, config.dModel());
  }

  @Override
  boolean isBuffer(String tensor) {
    return tensor.matches("(transformer\\.)?h\\.\\d+\\.attn\\.(bias|masked_bias)");
  }
}
