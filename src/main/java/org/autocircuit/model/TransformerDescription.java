package org.autocircuit.model;

/** Writes a transformer's structure as native code reads it; what GPT-2 has too is left out. */
final class TransformerDescription {

  private final StringBuilder text = new StringBuilder();

  private TransformerDescription() {}

  static String of(TransformerConfig config) {
    TransformerDescription description = new TransformerDescription();
    description.put("kind", "transformer");
    description.put("n_layers", config.nLayers());
    description.put("d_model", config.dModel());
    description.put("n_heads", config.nHeads());
    description.put("d_head", config.dHead());
    if (config.hasMlp()) {
      description.put("d_mlp", config.dMlp());
    }
    description.put("d_vocab", config.dVocab());
    description.put("n_ctx", config.nCtx());
    description.put("eps", config.eps());
    if (config.hasMlp()) {
      description.put("act_fn", config.activation().text());
    }
    description.unless(config.nHeads(), "n_key_value_heads", config.nKeyValueHeads());
    description.unless("layer_norm", "norm", config.norm().nativeName());
    description.unless(0.0, "norm_weight_offset", config.norm().weightOffset());
    config.rotary().ifPresent(description::rotary);
    description.scores(config.attentionScores());
    description.unless(false, "attn_only", !config.hasMlp());
    description.unless(false, "no_qkv_bias", !config.biases().qkv());
    description.unless(false, "no_attn_output_bias", !config.biases().attentionOutput());
    description.unless(false, "no_mlp_bias", !config.biases().mlp());
    description.unless(false, "gated_mlp", config.gatedMlp());
    description.unless(false, "parallel_attn_mlp", config.blockKind() == BlockKind.PARALLEL);
    description.unless(false, "post_norms", config.postNorms());
    description.unless(1.0, "embed_scale", config.embedScale());
    description.unless(0.0, "logit_soft_cap", config.logitSoftCap());
    config.autoencoders().ifPresent(description::autoencoders);
    return description.text.toString();
  }

  private void rotary(RotaryPositions rotary) {
    put("positions", "rotary");
    put("rotary_dim", rotary.dims());
    put("rotary_base", rotary.base());
    put("rotary_pairs", rotary.pairs() == RotaryPositions.Pairs.HALVES ? "half" : "adjacent");
    if (rotary.scaling() instanceof RotaryPositions.Linear linear) {
      put("rotary_scaling", "linear");
      put("rotary_factor", linear.factor());
    } else if (rotary.scaling() instanceof RotaryPositions.Llama3 llama3) {
      put("rotary_scaling", "llama3");
      put("rotary_factor", llama3.factor());
      put("rotary_low_freq_factor", llama3.lowFreqFactor());
      put("rotary_high_freq_factor", llama3.highFreqFactor());
      put("rotary_original_n_ctx", llama3.originalNCtx());
    }
  }

  private void scores(AttentionScores scores) {
    scores.scale().ifPresent(scale -> put("attn_scale", scale));
    unless(0.0, "attn_soft_cap", scores.softCap());
    scores
        .window()
        .ifPresent(
            window -> {
              put("window", window);
              unless(1, "window_every", scores.windowEvery());
            });
    unless(false, "qk_norm", scores.qkNorm());
  }

  private void autoencoders(AutoencoderConfig autoencoders) {
    autoencoders.latents().forEach((block, n) -> put("autoencoder_latents." + block, n));
    autoencoders.seqLen().ifPresent(seqLen -> put("autoencoder_positions", seqLen));
    unless(false, "autoencoder_errors", autoencoders.errorNodes());
  }

  private void unless(Object missing, String key, Object value) {
    if (!value.equals(missing)) {
      put(key, value);
    }
  }

  private void put(String key, Object value) {
    text.append(key).append('=').append(value).append('\n');
  }
}
