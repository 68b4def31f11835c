#include "models.h"

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
                  .to(options_.dtype()));
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

std::shared_ptr<const Model> random_transformer(
    const Shape& s,
    at::ScalarType dtype,
    at::Device device) {
  WeightList w(at::TensorOptions(device).dtype(dtype));
  const int64_t width = s.heads * s.d_head;
  w.add("embed.W_E", {s.d_vocab, s.d_model}, 1);
  w.add("pos_embed.W_pos", {s.n_ctx, s.d_model}, 1);
  for (int64_t n = 0; n < s.layers; n++) {
    const std::string b = "blocks." + std::to_string(n) + ".";
    for (const char* ln : {"ln1", "ln2"}) {
      w.add(b + ln + ".w", {s.d_model}, 1);
      w.add(b + ln + ".b", {s.d_model}, 0.3);
    }
    w.add(b + "attn.W_QKV", {s.d_model, 3 * width}, 0.5);
    w.add(b + "attn.b_QKV", {3 * width}, 0.3);
    w.add(b + "attn.W_O", {width, s.d_model}, 0.5);
    w.add(b + "attn.b_O", {s.d_model}, 0.3);
    w.add(b + "mlp.W_in", {s.d_model, s.d_mlp}, 0.5);
    w.add(b + "mlp.b_in", {s.d_mlp}, 0.3);
    w.add(b + "mlp.W_out", {s.d_mlp, s.d_model}, 0.5);
    w.add(b + "mlp.b_out", {s.d_model}, 0.3);
  }
  w.add("ln_final.w", {s.d_model}, 1);
  w.add("ln_final.b", {s.d_model}, 0.3);
  w.add("unembed.W_U", {s.d_vocab, s.d_model}, 1);
  const auto line = [](const char* key, int64_t value) {
    return std::string(key) + "=" + std::to_string(value) + "\n";
  };
  return make_model(
      "kind=transformer\neps=1e-05\nact_fn=gelu_new\n" +
          line("n_layers", s.layers) + line("d_model", s.d_model) +
          line("n_heads", s.heads) + line("d_head", s.d_head) +
          line("d_mlp", s.d_mlp) + line("d_vocab", s.d_vocab) +
          line("n_ctx", s.n_ctx),
      w.finish());
}

std::shared_ptr<const Model> micro_model(int64_t layers) {
  std::vector<std::string> names;
  std::vector<at::Tensor> tensors;
  for (int64_t n = 0; n < layers; n++) {
    names.push_back("blocks." + std::to_string(n) + ".weights");
    tensors.push_back(at::tensor({1.0, 2.0, 3.0, 4.0}).view({2, 2}));
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
    for (const char* part : {"q", "k", "v"}) {
      wrappers.push_back(dests.next(b + "hook_" + part + "_input", n, s.heads));
    }
    wrappers.push_back(source(b + "attn.hook_result", n, n + s.heads));
    n += s.heads;
    wrappers.push_back(dests.next(b + "hook_mlp_in", n, 0));
    wrappers.push_back(source(b + "hook_mlp_out", n, n + 1));
    n += 1;
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
