package org.autocircuit.checkpoint;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.List;
import org.autocircuit.model.Activation;
import org.autocircuit.model.AttentionScores;
import org.autocircuit.model.Norm;
import org.autocircuit.model.TransformerConfig;

/**
 * {@code gemma2} (Gemma Team, 2024): Llama with norms whose weights are stored less one, also
 * behind attention and MLP; bounded attention scores and logits; windows in every other block; a
 * scale of scores of its own; an embedding times the root of the width.
 */
final class Gemma2Family extends LlamaFamily {

  private static final int WINDOW = 4096;
  private static final int WINDOW_EVERY = 2;

  Gemma2Family() {
    super("gemma2", "Gemma2ForCausalLM", true, new Usual(8192, 4, 256));
  }

  @Override
  void readDifferences(ConfigReader reader, TransformerConfig.Builder builder) {
    reader.requireUnset("use_bidirectional_attention", false);
    // A bias inside what is normed afterwards is no constant of the residual stream.
    reader.requireUnset("attention_bias", false);
    builder
        .norm(Norm.rmsNorm(reader.positiveNumber("rms_norm_eps", 1e-6)).withWeightOffset(1))
        .postNorms(true)
        .activation(reader.activation("hidden_activation", Activation.GELU_NEW))
        .embedScale(Math.sqrt(reader.positiveInt("hidden_size")))
        .logitSoftCap(cap(reader, "final_logit_softcapping", 30));
    AttentionScores scores =
        AttentionScores.PLAIN
            .withScale(1 / Math.sqrt(reader.positiveNumber("query_pre_attn_scalar", 256)))
            .withSoftCap(cap(reader, "attn_logit_softcapping", 50));
    builder.attentionScores(
        WindowKeys.read(
            reader,
            scores,
            reader.has("sliding_window") ? reader.positiveInt("sliding_window") : WINDOW,
            WINDOW_EVERY));
  }

  /** Null is no bound, an absent key the usual one. */
  private static double cap(ConfigReader reader, String key, double usual) {
    return reader.positiveNumber(key, reader.has(key) ? 0 : usual);
  }

  @Override
  void write(TransformerConfig config, ObjectNode json) {
    super.write(config, json);
    AttentionScores scores = config.attentionScores();
    json.put("hidden_activation", config.activation().text());
    putCap(json, "attn_logit_softcapping", scores.softCap());
    putCap(json, "final_logit_softcapping", config.logitSoftCap());
    scores.scale().ifPresent(scale -> json.put("query_pre_attn_scalar", scalar(scale)));
    WindowKeys.write(config, WINDOW_EVERY, json);
  }

  /** The number whose inverse root the scale is: a whole one where that gives the scale exactly. */
  private static double scalar(double scale) {
    double whole = Math.rint(1 / (scale * scale));
    return 1 / Math.sqrt(whole) == scale ? whole : 1 / (scale * scale);
  }

  private static void putCap(ObjectNode json, String key, double cap) {
    if (cap > 0) {
      json.put(key, cap);
    } else {
      json.putNull(key);
    }
  }

  @Override
  List<StoredWeight> norms(TransformerConfig config, String to, String from) {
    int d = config.dModel();
    List<StoredWeight> weights = new ArrayList<>();
    weights.addAll(norm(to + "ln1_post", from + "post_attention_layernorm", config, d));
    weights.addAll(norm(to + "ln2", from + "pre_feedforward_layernorm", config, d));
    weights.addAll(norm(to + "ln2_post", from + "post_feedforward_layernorm", config, d));
    return weights;
  }
}
