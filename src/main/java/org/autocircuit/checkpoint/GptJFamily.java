package org.autocircuit.checkpoint;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.List;
import org.autocircuit.model.Activation;
import org.autocircuit.model.Biases;
import org.autocircuit.model.BlockKind;
import org.autocircuit.model.Norm;
import org.autocircuit.model.RotaryPositions;
import org.autocircuit.model.TransformerConfig;

/**
 * {@code gptj} (Wang and Komatsuzaki, 2021): rotary positions on neighbouring values, attention and
 * MLP in parallel behind one LayerNorm (which serves as both of a block's), biases in the MLP and
 * in the unembedding.
 */
final class GptJFamily extends ModelFamily {

  private static final String PREFIX = "transformer.";
  private static final int ROTARY_DIMS = 64;

  GptJFamily() {
    super("gptj", "GPTJForCausalLM", PREFIX, false);
  }

  @Override
  TransformerConfig read(ConfigReader reader) {
    requireUsual(reader);
    int dHead = evenHeads(reader, "n_embd", "n_head");
    int rotary = reader.has("rotary_dim") ? reader.positiveInt("rotary_dim") : ROTARY_DIMS;
    if (rotary > dHead || rotary % 2 != 0) {
      throw reader.error(
          "rotary_dim", rotary, "an even number of at most n_embd / n_head = " + dHead);
    }
    return TransformerConfig.builder()
        .nLayers(reader.positiveInt("n_layer"))
        .dModel(reader.positiveInt("n_embd"))
        .nHeads(reader.positiveInt("n_head"))
        .dHead(dHead)
        .dMlp(mlpWidth(reader, "n_inner", "n_embd"))
        .dVocab(reader.positiveInt("vocab_size"))
        .nCtx(reader.positions(2048))
        .norm(Norm.layerNorm(reader.positiveNumber("layer_norm_epsilon", 1e-5)))
        .rotary(RotaryPositions.adjacent(rotary))
        .activation(reader.activation("activation_function", Activation.GELU_NEW))
        .blockKind(BlockKind.PARALLEL)
        .biases(Biases.MLP)
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
    json.put("vocab_size", config.dVocab());
    json.put("layer_norm_epsilon", config.eps());
    config.rotary().ifPresent(rotary -> json.put("rotary_dim", rotary.dims()));
  }

  @Override
  List<StoredWeight> embeddings(TransformerConfig config) {
    return List.of(
        StoredWeight.same("embed.W_E", PREFIX + "wte.weight", config.dVocab(), config.dModel()));
  }

  @Override
  List<StoredWeight> block(TransformerConfig config, int block) {
    int d = config.dModel();
    long mlp = config.dMlp();
    String to = "blocks." + block + ".";
    String from = PREFIX + "h." + block + ".";
    String attn = from + "attn.";
    List<StoredWeight> weights = new ArrayList<>(norm(to + "ln1", from + "ln_1", config, d));
    weights.add(
        StoredWeight.linear(
            to + "attn.W_QKV",
            StoredWeight.part(attn + "q_proj.weight", d, d),
            StoredWeight.part(attn + "k_proj.weight", d, d),
            StoredWeight.part(attn + "v_proj.weight", d, d)));
    weights.add(
        StoredWeight.linear(to + "attn.W_O", StoredWeight.part(attn + "out_proj.weight", d, d)));
    weights.addAll(norm(to + "ln2", from + "ln_1", config, d));
    weights.add(
        StoredWeight.linear(to + "mlp.W_in", StoredWeight.part(from + "mlp.fc_in.weight", mlp, d)));
    weights.add(StoredWeight.same(to + "mlp.b_in", from + "mlp.fc_in.bias", mlp));
    weights.add(
        StoredWeight.linear(
            to + "mlp.W_out", StoredWeight.part(from + "mlp.fc_out.weight", d, mlp)));
    weights.add(StoredWeight.same(to + "mlp.b_out", from + "mlp.fc_out.bias", d));
    return weights;
  }

  @Override
  List<StoredWeight> ending(TransformerConfig config) {
    List<StoredWeight> weights =
        new ArrayList<>(norm("ln_final", PREFIX + "ln_f", config, config.dModel()));
    weights.add(StoredWeight.same("unembed.b_U", "lm_head.bias", config.dVocab()));
    return weights;
  }

  @Override
  boolean isBuffer(String tensor) {
    return tensor.matches(".*\\.attn\\.(bias|masked_bias|embed_positions)");
  }
}
