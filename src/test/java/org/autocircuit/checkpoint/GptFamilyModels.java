package org.autocircuit.checkpoint;

import static org.autocircuit.checkpoint.FamilyOps.attend;
import static org.autocircuit.checkpoint.FamilyOps.head;
import static org.autocircuit.checkpoint.FamilyOps.layerNorm;
import static org.autocircuit.checkpoint.FamilyOps.linear;

import java.util.ArrayList;
import java.util.List;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/** The families with LayerNorm: GPT-2, GPT-NeoX and GPT-J. */
final class GptFamilyModels {

  private static final int N_HEADS = 2;
  private static final int HEAD = FamilyModel.D / N_HEADS;
  private static final double SCALE = 1 / Math.sqrt(HEAD);
  private static final double EPS = 1e-5;

  private GptFamilyModels() {}

  private abstract static class Gpt extends FamilyModel {
    Gpt(String modelType, long seed) {
      super(modelType, seed);
    }

    final void norm(String name) {
      scale(name + ".weight", 1, D);
      bias(name + ".bias", D);
    }

    final Tensor normed(Tensor x, String name) {
      return layerNorm(x, tensor(name + ".weight"), tensor(name + ".bias"), EPS);
    }

    final Tensor projected(Tensor x, String name) {
      Tensor y = linear(x, tensor(name + ".weight"));
      return tensors.containsKey(name + ".bias") ? y.add(tensor(name + ".bias")) : y;
    }
  }

  /** {@code x + attn(ln_1(x))}, then {@code x + mlp(ln_2(x))}; matrices are [inputs, outputs]. */
  static FamilyModel gpt2(boolean tied) {
    Gpt model =
        new Gpt("gpt2", 1) {
          @Override
          Tensor forward(Tensor tokens) {
            Tensor x =
                torch
                    .embedding(tensor("transformer.wte.weight"), tokens)
                    .add(tensor("transformer.wpe.weight").narrow(0, 0, tokens.size(1)));
            for (int n = 0; n < LAYERS; n++) {
              String h = "transformer.h." + n + ".";
              Tensor qkv = conv(normed(x, h + "ln_1"), h + "attn.c_attn");
              List<Tensor> z = new ArrayList<>();
              for (int i = 0; i < N_HEADS; i++) {
                Tensor q = head(qkv, i * HEAD, HEAD);
                Tensor k = head(qkv, D + i * HEAD, HEAD);
                Tensor v = head(qkv, 2 * D + i * HEAD, HEAD);
                z.add(attend(q, k, v, SCALE, 0, 0));
              }
              x = x.add(conv(FamilyOps.cat(z), h + "attn.c_proj"));
              Tensor hidden = FamilyOps.geluTanh(conv(normed(x, h + "ln_2"), h + "mlp.c_fc"));
              x = x.add(conv(hidden, h + "mlp.c_proj"));
            }
            String unembedding = tied ? "transformer.wte.weight" : "lm_head.weight";
            return linear(normed(x, "transformer.ln_f"), tensor(unembedding));
          }

          private Tensor conv(Tensor x, String name) {
            return x.matmul(tensor(name + ".weight")).add(tensor(name + ".bias"));
          }
        };
    model.config.put("n_layer", FamilyModel.LAYERS).put("n_embd", FamilyModel.D);
    model.config.put("n_head", N_HEADS).put("n_inner", FamilyModel.MLP);
    model.config.put("n_positions", FamilyModel.CONTEXT);
    model.config.put("tie_word_embeddings", tied);
    model.matrix("transformer.wte.weight", FamilyModel.VOCAB, FamilyModel.D);
    model.matrix("transformer.wpe.weight", FamilyModel.CONTEXT, FamilyModel.D);
    for (int n = 0; n < FamilyModel.LAYERS; n++) {
      String h = "transformer.h." + n + ".";
      model.norm(h + "ln_1");
      model.matrix(h + "attn.c_attn.weight", FamilyModel.D, 3 * FamilyModel.D);
      model.bias(h + "attn.c_attn.bias", 3 * FamilyModel.D);
      model.matrix(h + "attn.c_proj.weight", FamilyModel.D, FamilyModel.D);
      model.bias(h + "attn.c_proj.bias", FamilyModel.D);
      model.norm(h + "ln_2");
      model.matrix(h + "mlp.c_fc.weight", FamilyModel.D, FamilyModel.MLP);
      model.bias(h + "mlp.c_fc.bias", FamilyModel.MLP);
      model.matrix(h + "mlp.c_proj.weight", FamilyModel.MLP, FamilyModel.D);
      model.bias(h + "mlp.c_proj.bias", FamilyModel.D);
    }
    model.norm("transformer.ln_f");
    if (!tied) {
      model.matrix("lm_head.weight", FamilyModel.VOCAB, FamilyModel.D);
    }
    return model;
  }

  /**
   * {@code x + attn(ln1(x)) + mlp(ln2(x))}, or one after the other; half of each head is turned.
   */
  static FamilyModel gptNeox(boolean parallel, boolean attentionBias) {
    Gpt model =
        new Gpt("gpt_neox", 2) {
          @Override
          Tensor forward(Tensor tokens) {
            double[] frequencies = FamilyOps.frequencies(HEAD / 2, 500);
            Tensor x = torch.embedding(tensor("gpt_neox.embed_in.weight"), tokens);
            for (int n = 0; n < LAYERS; n++) {
              String layer = "gpt_neox.layers." + n + ".";
              Tensor qkv =
                  projected(
                      normed(x, layer + "input_layernorm"), layer + "attention.query_key_value");
              List<Tensor> z = new ArrayList<>();
              for (int i = 0; i < N_HEADS; i++) {
                Tensor q = FamilyOps.turned(head(qkv, 3 * i * HEAD, HEAD), frequencies, false);
                Tensor k =
                    FamilyOps.turned(head(qkv, (3 * i + 1) * HEAD, HEAD), frequencies, false);
                z.add(attend(q, k, head(qkv, (3 * i + 2) * HEAD, HEAD), SCALE, 0, 0));
              }
              Tensor mid = x.add(projected(FamilyOps.cat(z), layer + "attention.dense"));
              Tensor read = normed(parallel ? x : mid, layer + "post_attention_layernorm");
              Tensor hidden = FamilyOps.gelu(projected(read, layer + "mlp.dense_h_to_4h"));
              x = mid.add(projected(hidden, layer + "mlp.dense_4h_to_h"));
            }
            return linear(normed(x, "gpt_neox.final_layer_norm"), tensor("embed_out.weight"));
          }
        };
    model.config.put("num_hidden_layers", FamilyModel.LAYERS).put("hidden_size", FamilyModel.D);
    model.config.put("num_attention_heads", N_HEADS);
    model.config.put("intermediate_size", FamilyModel.MLP);
    model.config.put("max_position_embeddings", FamilyModel.CONTEXT);
    model.config.put("rotary_pct", 0.5).put("rotary_emb_base", 500).put("hidden_act", "gelu");
    model.config.put("use_parallel_residual", parallel).put("attention_bias", attentionBias);
    model.matrix("gpt_neox.embed_in.weight", FamilyModel.VOCAB, FamilyModel.D);
    for (int n = 0; n < FamilyModel.LAYERS; n++) {
      String layer = "gpt_neox.layers." + n + ".";
      model.norm(layer + "input_layernorm");
      model.norm(layer + "post_attention_layernorm");
      String qkv = layer + "attention.query_key_value";
      model.matrix(qkv + ".weight", 3 * FamilyModel.D, FamilyModel.D);
      model.matrix(layer + "attention.dense.weight", FamilyModel.D, FamilyModel.D);
      if (attentionBias) {
        model.bias(qkv + ".bias", 3 * FamilyModel.D);
        model.bias(layer + "attention.dense.bias", FamilyModel.D);
      }
      model.matrix(layer + "mlp.dense_h_to_4h.weight", FamilyModel.MLP, FamilyModel.D);
      model.bias(layer + "mlp.dense_h_to_4h.bias", FamilyModel.MLP);
      model.matrix(layer + "mlp.dense_4h_to_h.weight", FamilyModel.D, FamilyModel.MLP);
      model.bias(layer + "mlp.dense_4h_to_h.bias", FamilyModel.D);
      // A buffer that old files have.
      model.bias(layer + "attention.rotary_emb.inv_freq", 2);
    }
    model.norm("gpt_neox.final_layer_norm");
    model.matrix("embed_out.weight", FamilyModel.VOCAB, FamilyModel.D);
    return model;
  }

  /** {@code x + attn(ln(x)) + mlp(ln(x))}; the first values of each head are turned in pairs. */
  static FamilyModel gptJ() {
    Gpt model =
        new Gpt("gptj", 3) {
          @Override
          Tensor forward(Tensor tokens) {
            double[] frequencies = FamilyOps.frequencies(4, 10_000);
            Tensor x = torch.embedding(tensor("transformer.wte.weight"), tokens);
            for (int n = 0; n < LAYERS; n++) {
              String h = "transformer.h." + n + ".";
              Tensor read = normed(x, h + "ln_1");
              Tensor queries = projected(read, h + "attn.q_proj");
              Tensor keys = projected(read, h + "attn.k_proj");
              Tensor values = projected(read, h + "attn.v_proj");
              List<Tensor> z = new ArrayList<>();
              for (int i = 0; i < N_HEADS; i++) {
                Tensor q = FamilyOps.turned(head(queries, i * HEAD, HEAD), frequencies, true);
                Tensor k = FamilyOps.turned(head(keys, i * HEAD, HEAD), frequencies, true);
                z.add(attend(q, k, head(values, i * HEAD, HEAD), SCALE, 0, 0));
              }
              Tensor hidden = FamilyOps.geluTanh(projected(read, h + "mlp.fc_in"));
              x =
                  x.add(projected(FamilyOps.cat(z), h + "attn.out_proj"))
                      .add(projected(hidden, h + "mlp.fc_out"));
            }
            return projected(normed(x, "transformer.ln_f"), "lm_head");
          }
        };
    model.config.put("n_layer", FamilyModel.LAYERS).put("n_embd", FamilyModel.D);
    model.config.put("n_head", N_HEADS).put("n_inner", FamilyModel.MLP);
    model.config.put("n_positions", FamilyModel.CONTEXT).put("rotary_dim", 4);
    model.matrix("transformer.wte.weight", FamilyModel.VOCAB, FamilyModel.D);
    for (int n = 0; n < FamilyModel.LAYERS; n++) {
      String h = "transformer.h." + n + ".";
      model.norm(h + "ln_1");
      for (String projection : List.of("q_proj", "k_proj", "v_proj", "out_proj")) {
        model.matrix(h + "attn." + projection + ".weight", FamilyModel.D, FamilyModel.D);
      }
      model.matrix(h + "mlp.fc_in.weight", FamilyModel.MLP, FamilyModel.D);
      model.bias(h + "mlp.fc_in.bias", FamilyModel.MLP);
      model.matrix(h + "mlp.fc_out.weight", FamilyModel.D, FamilyModel.MLP);
      model.bias(h + "mlp.fc_out.bias", FamilyModel.D);
    }
    model.norm("transformer.ln_f");
    model.matrix("lm_head.weight", FamilyModel.VOCAB, FamilyModel.D);
    model.bias("lm_head.bias", FamilyModel.VOCAB);
    return model;
  }
}
