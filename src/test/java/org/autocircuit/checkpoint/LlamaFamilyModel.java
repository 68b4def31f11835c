package org.autocircuit.checkpoint;

import static org.autocircuit.checkpoint.FamilyOps.attend;
import static org.autocircuit.checkpoint.FamilyOps.head;
import static org.autocircuit.checkpoint.FamilyOps.linear;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.List;
import org.autocircuit.internal.StrictJson;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/** The families with RMSNorm: Llama, Mistral, Qwen 2 and 3, Gemma 2. */
final class LlamaFamilyModel extends FamilyModel {

  private static final double EPS = 1e-6;

  private final boolean gemma;
  private final boolean tied;
  private final int kv;
  private final int dHead;

  /** A model whose settings come from JSON text, on top of the sizes. */
  LlamaFamilyModel(String modelType, int kv, int dHead, String settings) {
    super(modelType, 4);
    this.kv = kv;
    this.dHead = dHead;
    gemma = modelType.equals("gemma2");
    config.put("num_hidden_layers", LAYERS).put("hidden_size", D);
    config.put("num_attention_heads", HEADS).put("num_key_value_heads", kv);
    config.put("intermediate_size", MLP).put("max_position_embeddings", CONTEXT);
    config.put("rms_norm_eps", EPS);
    if (dHead != D / HEADS) {
      config.put("head_dim", dHead);
    }
    try {
      StrictJson.MAPPER.readerForUpdating(config).readValue(settings.replace('\'', '"'));
    } catch (java.io.IOException e) {
      throw new IllegalArgumentException(e);
    }
    tied = config.path("tie_word_embeddings").asBoolean(gemma);
    makeWeights();
  }

  private void makeWeights() {
    boolean qwen2 = toString().equals("qwen2");
    boolean bias = config.path("attention_bias").asBoolean();
    matrix("model.embed_tokens.weight", VOCAB, D);
    for (int n = 0; n < LAYERS; n++) {
      String layer = "model.layers." + n + ".";
      String attn = layer + "self_attn.";
      norm(layer + "input_layernorm", D);
      norm(layer + "post_attention_layernorm", D);
      if (gemma) {
        norm(layer + "pre_feedforward_layernorm", D);
        norm(layer + "post_feedforward_layernorm", D);
      }
      if (toString().equals("qwen3")) {
        norm(attn + "q_norm", dHead);
        norm(attn + "k_norm", dHead);
      }
      projection(attn + "q_proj", HEADS * dHead, D, bias || qwen2);
      projection(attn + "k_proj", kv * dHead, D, bias || qwen2);
      projection(attn + "v_proj", kv * dHead, D, bias || qwen2);
      projection(attn + "o_proj", D, HEADS * dHead, bias);
      projection(layer + "mlp.gate_proj", MLP, D, false);
      projection(layer + "mlp.up_proj", MLP, D, false);
      projection(layer + "mlp.down_proj", D, MLP, false);
    }
    norm("model.norm", D);
    if (!tied) {
      matrix("lm_head.weight", VOCAB, D);
    }
  }

  private void norm(String name, int size) {
    scale(name + ".weight", gemma ? 0 : 1, size);
  }

  private void projection(String name, int outputs, int inputs, boolean bias) {
    matrix(name + ".weight", outputs, inputs);
    if (bias) {
      bias(name + ".bias", outputs);
    }
  }

  private Tensor normed(Tensor x, String name) {
    Tensor weight = tensor(name + ".weight");
    return FamilyOps.rmsNorm(x, gemma ? FamilyOps.plus(weight, 1) : weight, EPS);
  }

  private Tensor projected(Tensor x, String name) {
    Tensor y = linear(x, tensor(name + ".weight"));
    return tensors.containsKey(name + ".bias") ? y.add(tensor(name + ".bias")) : y;
  }

  @Override
  Tensor forward(Tensor tokens) {
    Tensor x = torch.embedding(tensor("model.embed_tokens.weight"), tokens);
    if (gemma) {
      x = FamilyOps.times(x, Math.sqrt(D));
    }
    for (int n = 0; n < LAYERS; n++) {
      String layer = "model.layers." + n + ".";
      Tensor attention = attention(normed(x, layer + "input_layernorm"), n);
      if (gemma) {
        attention = normed(attention, layer + "post_attention_layernorm");
      }
      x = x.add(attention);
      Tensor read =
          normed(x, layer + (gemma ? "pre_feedforward_layernorm" : "post_attention_layernorm"));
      Tensor gate = projected(read, layer + "mlp.gate_proj");
      Tensor active = gemma ? FamilyOps.geluTanh(gate) : FamilyOps.silu(gate);
      Tensor mlp =
          projected(active.mul(projected(read, layer + "mlp.up_proj")), layer + "mlp.down_proj");
      x = x.add(gemma ? normed(mlp, layer + "post_feedforward_layernorm") : mlp);
    }
    Tensor logits =
        linear(
            normed(x, "model.norm"), tensor(tied ? "model.embed_tokens.weight" : "lm_head.weight"));
    return FamilyOps.softCap(logits, config.path("final_logit_softcapping").asDouble());
  }

  private Tensor attention(Tensor x, int layer) {
    String attn = "model.layers." + layer + ".self_attn.";
    Tensor queries = projected(x, attn + "q_proj");
    Tensor keys = projected(x, attn + "k_proj");
    Tensor values = projected(x, attn + "v_proj");
    double scale = 1 / Math.sqrt(config.path("query_pre_attn_scalar").asDouble(dHead));
    double cap = config.path("attn_logit_softcapping").asDouble();
    List<Tensor> z = new ArrayList<>();
    for (int i = 0; i < HEADS; i++) {
      int group = i / (HEADS / kv);
      Tensor q = head(queries, i * dHead, dHead);
      Tensor k = head(keys, group * dHead, dHead);
      if (tensors.containsKey(attn + "q_norm.weight")) {
        q = normed(q, attn + "q_norm");
        k = normed(k, attn + "k_norm");
      }
      q = FamilyOps.turned(q, frequencies(), false);
      k = FamilyOps.turned(k, frequencies(), false);
      z.add(attend(q, k, head(values, group * dHead, dHead), scale, cap, window(layer)));
    }
    return projected(FamilyOps.cat(z), attn + "o_proj");
  }

  private int window(int layer) {
    boolean windows =
        switch (toString()) {
          case "mistral" -> true;
          case "gemma2" -> layer % 2 == 0;
          default -> config.path("use_sliding_window").asBoolean();
        };
    return windows ? config.path("sliding_window").asInt() : 0;
  }

  private double[] frequencies() {
    JsonNode parameters = config.path("rope_parameters");
    JsonNode scaling = parameters.isMissingNode() ? config.path("rope_scaling") : parameters;
    double base = parameters.path("rope_theta").asDouble(config.path("rope_theta").asDouble());
    double[] frequencies = FamilyOps.frequencies(dHead, base);
    String type = scaling.path("rope_type").asText(scaling.path("type").asText("default"));
    double factor = scaling.path("factor").asDouble();
    for (int i = 0; i < frequencies.length; i++) {
      if (type.equals("linear")) {
        frequencies[i] /= factor;
      } else if (type.equals("llama3")) {
        frequencies[i] = llama3(frequencies[i], factor, scaling);
      }
    }
    return frequencies;
  }

  /** As published with Llama 3.1, by wavelengths. */
  private static double llama3(double frequency, double factor, JsonNode scaling) {
    double context = scaling.path("original_max_position_embeddings").asDouble();
    double low = scaling.path("low_freq_factor").asDouble();
    double high = scaling.path("high_freq_factor").asDouble();
    double wavelength = 2 * Math.PI / frequency;
    if (wavelength < context / high) {
      return frequency;
    }
    if (wavelength > context / low) {
      return frequency / factor;
    }
    double smooth = (context / wavelength - low) / (high - low);
    return (1 - smooth) * frequency / factor + smooth * frequency;
  }
}
