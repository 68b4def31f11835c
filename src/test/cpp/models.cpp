#include "models.h"

#include "autocircuit/engine/forward.h"

namespace autocircuit::test {

namespace {

class WeightList {
 public:
  explicit WeightList(at::TensorOptions options) : options_(options) {}

  void add(const std::string& name, at::IntArrayRef shape, double scale) {
    names_.push_back(name);
    tensors_.push_back(
        options_.device().is_meta()
            ? at::empty(shape, options_)
            : (at::randn(shape, generator_, options_.dtype(at::kDouble)) *
               scale)
                  .to(options_));
  }
  Weights finish() {
    return {names_, tensors_};
  }

 private:
  at::TensorOptions options_;
  at::Generator generator_ = at::detail::createCPUGenerator(7);
  std::vector<std::string> names_;
  std::vector<at::Tensor> tensors_;
};

PatchWrapper source(const std::string& module, int64_t start, int64_t stop) {
  PatchWrapper w;
  w.module = module;
  w.src_start = start;
  w.src_stop = stop;
  return w;
}

class DestinationList {
 public:
  explicit DestinationList(int64_t seq_len) : seq_len_(seq_len) {}

  PatchWrapper next(const std::string& module, int64_t n_in, int64_t rows) {
    PatchWrapper w;
    w.module = module;
    w.in_start = 0;
    w.in_stop = n_in;
    w.rows = rows;
    w.seq_len = seq_len_;
    w.mask_offset = offset_;
    offset_ += w.mask_size();
    return w;
  }

 private:
  int64_t seq_len_;
  int64_t offset_ = 0;
};

} // namespace

std::string description(const Shape& s) {
  std::string text = "kind=transformer\neps=1e-05\n" + s.more;
  const auto line = [&](const char* key, int64_t value) {
    text += std::string(key) + "=" + std::to_string(value) + "\n";
  };
  const auto flag = [&](const char* key, bool value) {
    text += value ? std::string(key) + "=true\n" : "";
  };
  line("n_layers", s.layers);
  line("d_model", s.d_model);
  line("n_heads", s.heads);
  line("d_head", s.d_head);
  line("d_vocab", s.d_vocab);
  line("n_ctx", s.n_ctx);
  if (!s.attn_only) {
    line("d_mlp", s.d_mlp);
    if (s.more.find("act_fn=") == std::string::npos) {
      text += "act_fn=gelu_new\n";
    }
  }
  if (s.kv_heads > 0) {
    line("n_key_value_heads", s.kv_heads);
  }
  text += std::string("norm=") + (s.rms ? "rms_norm" : "layer_norm") +
      (s.norm_weights ? "\n" : "_pre\n");
  if (!s.learned) {
    text += "positions=rotary\n";
  }
  flag("no_qkv_bias", !s.biases);
  flag("no_attn_output_bias", !s.biases);
  flag("no_mlp_bias", !s.biases);
  flag("attn_only", s.attn_only);
  flag("parallel_attn_mlp", s.parallel);
  flag("gated_mlp", s.gated);
  flag("qk_norm", s.qk_norm);
  flag("post_norms", s.post_norms);
  if (s.latents >= 0) {
    for (int64_t n = 0; n < s.layers; n++) {
      const std::string key = "autoencoder_latents." + std::to_string(n);
      line(key.c_str(), s.latents);
    }
    if (s.positions > 0) {
      line("autoencoder_positions", s.positions);
    }
    flag("autoencoder_errors", s.error_node);
  }
  return text;
}

std::shared_ptr<const Model> random_transformer(
    const Shape& s,
    at::ScalarType dtype,
    at::Device device) {
  WeightList w(at::TensorOptions(device).dtype(dtype));
  const int64_t width = s.heads * s.d_head;
  const int64_t kv_heads = s.kv_heads > 0 ? s.kv_heads : s.heads;
  const int64_t qkv = width + 2 * kv_heads * s.d_head;
  const auto norm = [&](const std::string& name, int64_t size) {
    if (s.norm_weights) {
      w.add(name + ".w", {size}, 1);
      if (!s.rms) {
        w.add(name + ".b", {size}, 0.3);
      }
    }
  };
  const auto bias = [&](const std::string& name, int64_t size) {
    if (s.biases) {
      w.add(name, {size}, 0.3);
    }
  };
  const auto autoencoder = [&](const std::string& name) {
    const auto add = [&](const char* weight, std::vector<int64_t> sizes) {
      if (s.positions > 0) {
        sizes.insert(sizes.begin(), s.positions);
      }
      w.add(name + weight, sizes, 0.5);
    };
    add("encode_weight", {s.latents, s.d_model});
    add("latent_bias", {s.latents});
    add("decode_weight", {s.d_model, s.latents});
    w.add(name + "bias", {s.d_model}, 0.5);
  };
  w.add("embed.W_E", {s.d_vocab, s.d_model}, 1);
  if (s.learned) {
    w.add("pos_embed.W_pos", {s.n_ctx, s.d_model}, 1);
  }
  for (int64_t n = 0; n < s.layers; n++) {
    const std::string b = "blocks." + std::to_string(n) + ".";
    norm(b + "ln1", s.d_model);
    w.add(b + "attn.W_QKV", {s.d_model, qkv}, 0.5);
    bias(b + "attn.b_QKV", qkv);
    if (s.qk_norm) {
      norm(b + "attn.q_norm", s.d_head);
      norm(b + "attn.k_norm", s.d_head);
    }
    w.add(b + "attn.W_O", {width, s.d_model}, 0.5);
    bias(b + "attn.b_O", s.d_model);
    if (s.post_norms) {
      norm(b + "ln1_post", s.d_model);
    }
    if (s.attn_only) {
      continue;
    }
    norm(b + "ln2", s.d_model);
    w.add(b + "mlp.W_in", {s.d_model, s.d_mlp}, 0.5);
    if (s.gated) {
      w.add(b + "mlp.W_gate", {s.d_model, s.d_mlp}, 0.5);
    }
    bias(b + "mlp.b_in", s.d_mlp);
    w.add(b + "mlp.W_out", {s.d_mlp, s.d_model}, 0.5);
    bias(b + "mlp.b_out", s.d_model);
    if (s.post_norms) {
      norm(b + "ln2_post", s.d_model);
    }
    if (s.latents >= 0) {
      autoencoder(b + "hook_mlp_out.");
    }
  }
  norm("ln_final", s.d_model);
  w.add("unembed.W_U", {s.d_vocab, s.d_model}, 1);
  return make_model(description(s), w.finish());
}

std::shared_ptr<const Model> micro_model(int64_t layers) {
  std::vector<std::string> names;
  std::vector<at::Tensor> tensors;
  for (int64_t n = 0; n < layers; n++) {
    names.push_back("blocks." + std::to_string(n) + ".weights");
    tensors.push_back(to_device(at::tensor({1.0, 2.0, 3.0, 4.0}).view({2, 2})));
  }
  return make_model(
      "kind=micro\nn_layers=" + std::to_string(layers) +
          "\nn_heads=2\nd_model=2\n",
      Weights(names, tensors));
}

std::vector<PatchWrapper> edge_wrappers(const Shape& s, int64_t seq_len) {
  DestinationList dests(seq_len);
  std::vector<PatchWrapper> wrappers{source("blocks.0.hook_resid_pre", 0, 1)};
  int64_t n = 1;
  for (int64_t layer = 0; layer < s.layers; layer++) {
    const std::string b = "blocks." + std::to_string(layer) + ".";
    const int64_t kv_rows =
        s.kv_heads > 0 && !s.ungrouped ? s.kv_heads : s.heads;
    if (s.joint) {
      wrappers.push_back(dests.next(b + "hook_attn_in", n, s.heads));
    } else {
      wrappers.push_back(dests.next(b + "hook_q_input", n, s.heads));
      wrappers.push_back(dests.next(b + "hook_k_input", n, kv_rows));
      wrappers.push_back(dests.next(b + "hook_v_input", n, kv_rows));
    }
    if (s.parallel) {
      wrappers.push_back(dests.next(b + "hook_mlp_in", n, 0));
    }
    wrappers.push_back(source(b + "attn.hook_result", n, n + s.heads));
    n += s.heads;
    if (s.attn_only) {
      continue;
    }
    if (!s.parallel) {
      wrappers.push_back(dests.next(b + "hook_mlp_in", n, 0));
    }
    if (s.latents > 0) {
      wrappers.push_back(
          source(b + "hook_mlp_out.latent_outs", n, n + s.latents));
      n += s.latents;
    }
    if (s.latents < 0 || s.error_node) {
      const char* module =
          s.latents < 0 ? "hook_mlp_out" : "hook_mlp_out.error";
      wrappers.push_back(source(b + module, n, n + 1));
      n += 1;
    }
  }
  wrappers.push_back(dests.next(
      "blocks." + std::to_string(s.layers - 1) + ".hook_resid_post", n, 0));
  return wrappers;
}

std::vector<PatchWrapper> micro_edge_wrappers(int64_t layers) {
  DestinationList dests(0);
  std::vector<PatchWrapper> wrappers{source("input", 0, 1)};
  int64_t n = 1;
  for (int64_t layer = 0; layer < layers; layer++) {
    const std::string b = "blocks." + std::to_string(layer) + ".";
    wrappers.push_back(dests.next(b + "head_inputs", n, 2));
    wrappers.push_back(source(b + "head_outputs", n, n + 2));
    n += 2;
  }
  wrappers.push_back(dests.next("output", n, 0));
  return wrappers;
}

at::Tensor logits(
    const PatchableModel& model,
    const at::Tensor& input,
    const PatchContext* context) {
  ForwardRequest request;
  request.input = {.value = input, .start_block = 0};
  request.context = context;
  return forward(model, request).logits;
}

} // namespace autocircuit::test
