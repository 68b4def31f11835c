package org.autocircuit.golden;

import com.fasterxml.jackson.databind.JsonNode;
import org.autocircuit.model.AttentionScores;
import org.autocircuit.model.BlockKind;
import org.autocircuit.model.Norm;
import org.autocircuit.model.RotaryPositions;
import org.autocircuit.model.TransformerConfig;

/** Turns TransformerLens's configuration of a case into ours. */
final class GoldenConfig {

  private GoldenConfig() {}

  static TransformerConfig of(JsonNode cfg) {
    TransformerConfig.Builder builder =
        TransformerConfig.builder()
            .nLayers(cfg.get("n_layers").asInt())
            .dModel(cfg.get("d_model").asInt())
            .nHeads(cfg.get("n_heads").asInt())
            .dHead(cfg.get("d_head").asInt())
            .dVocab(cfg.get("d_vocab").asInt())
            .nCtx(cfg.get("n_ctx").asInt())
            .norm(norm(cfg))
            .attentionScores(scores(cfg))
            .postNorms(cfg.path("use_normalization_before_and_after").asBoolean())
            .gatedMlp(cfg.path("gated_mlp").asBoolean());
    if (cfg.path("attn_only").asBoolean()) {
      builder.blockKind(BlockKind.ATTENTION_ONLY);
    } else {
      builder.dMlp(cfg.get("d_mlp").asInt()).activation(cfg.get("act_fn").asText());
      if (cfg.path("parallel_attn_mlp").asBoolean()) {
        builder.blockKind(BlockKind.PARALLEL);
      }
    }
    if (cfg.path("n_key_value_heads").isInt()) {
      builder.nKeyValueHeads(cfg.get("n_key_value_heads").asInt());
    }
    if (cfg.path("positional_embedding_type").asText("standard").equals("rotary")) {
      int dims = cfg.get("rotary_dim").asInt();
      builder.rotary(
          (cfg.path("rotary_adjacent_pairs").asBoolean()
                  ? RotaryPositions.adjacent(dims)
                  : RotaryPositions.halves(dims))
              .withBase(cfg.get("rotary_base").asDouble()));
    }
    double logitCap = cfg.path("output_logits_soft_cap").asDouble(-1);
    return builder.logitSoftCap(Math.max(logitCap, 0)).build();
  }

  private static Norm norm(JsonNode cfg) {
    double eps = cfg.get("eps").asDouble();
    return switch (cfg.path("normalization_type").asText()) {
      case "LN" -> Norm.layerNorm(eps);
      case "LNPre" -> Norm.layerNorm(eps).withoutWeights();
      case "RMS" -> Norm.rmsNorm(eps);
      case "RMSPre" -> Norm.rmsNorm(eps).withoutWeights();
      default ->
          throw new IllegalArgumentException("unknown norm " + cfg.get("normalization_type"));
    };
  }

  private static AttentionScores scores(JsonNode cfg) {
    AttentionScores scores = AttentionScores.PLAIN;
    if (!cfg.path("use_attn_scale").asBoolean(true)) {
      scores = scores.withScale(1);
    } else if (cfg.path("attn_scale").isNumber()) {
      scores = scores.withScale(1 / cfg.get("attn_scale").asDouble());
    }
    double cap = cfg.path("attn_scores_soft_cap").asDouble(-1);
    return cap > 0 ? scores.withSoftCap(cap) : scores;
  }
}
