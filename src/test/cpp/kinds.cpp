#include "kinds.h"

#include "autocircuit/engine/source_ablations.h"
#include "autocircuit/model/precision.h"

#include "check.h"

namespace autocircuit::test {

namespace {

const char* const kHalves =
    "rotary_dim=4\nrotary_base=10000\nrotary_pairs=half\n";
const char* const kAdjacent =
    "rotary_dim=2\nrotary_base=10000\nrotary_pairs=adjacent\n";

} // namespace

Shape llama() {
  Shape s;
  s.heads = 4;
  s.kv_heads = 2;
  s.rms = true;
  s.learned = false;
  s.gated = true;
  s.biases = false;
  s.more = std::string("act_fn=silu\n") + kHalves;
  return s;
}

Shape gemma() {
  Shape s = llama();
  s.post_norms = true;
  s.more = std::string(kHalves) +
      "act_fn=gelu_new\nnorm_weight_offset=1\nembed_scale=2.5\n"
      "attn_scale=0.3\nattn_soft_cap=1.5\nlogit_soft_cap=3\n"
      "window=2\nwindow_every=2\n";
  return s;
}

std::vector<std::pair<std::string, Shape>> kinds() {
  std::vector<std::pair<std::string, Shape>> kinds;
  const auto add = [&](const char* name, Shape shape, auto change) {
    change(shape);
    kinds.emplace_back(name, std::move(shape));
  };
  add("gpt2 without norm weights", {}, [](Shape& s) {
    s.norm_weights = false;
  });
  add("attention only", {}, [](Shape& s) { s.attn_only = true; });
  add("gpt-neox", {}, [](Shape& s) {
    s.parallel = true;
    s.learned = false;
    s.more = std::string("act_fn=gelu\n") + kHalves;
  });
  add("gpt-j", {}, [](Shape& s) {
    s.parallel = true;
    s.learned = false;
    s.more = kAdjacent;
  });
  add("llama", llama(), [](Shape&) {});
  add("llama with scaled frequencies", llama(), [](Shape& s) {
    s.more +=
        "rotary_scaling=llama3\nrotary_factor=8\nrotary_low_freq_factor=1\n"
        "rotary_high_freq_factor=4\nrotary_original_n_ctx=16\n";
  });
  add("llama, ungrouped", llama(), [](Shape& s) { s.ungrouped = true; });
  add("llama, joint inputs", llama(), [](Shape& s) { s.joint = true; });
  add("llama, one key/value head", llama(), [](Shape& s) { s.kv_heads = 1; });
  add("llama with biases", llama(), [](Shape& s) { s.biases = true; });
  add("mistral", llama(), [](Shape& s) { s.more += "window=2\n"; });
  add("qwen3", llama(), [](Shape& s) { s.qk_norm = true; });
  add("gemma2", gemma(), [](Shape&) {});
  add("gemma2, ungrouped", gemma(), [](Shape& s) { s.ungrouped = true; });
  add("gemma2 with qk norms, no norm weights", gemma(), [](Shape& s) {
    s.qk_norm = true;
    s.norm_weights = false;
  });
  const auto with_autoencoders = [](Shape s, bool error_node) {
    s.latents = 7;
    s.error_node = error_node;
    return s;
  };
  for (const bool errors : {false, true}) {
    const Shape gpt2 = with_autoencoders({}, errors);
    add("gpt2 with autoencoders", gpt2, [](Shape&) {});
    add("gpt2, latents per position", gpt2, [](Shape& s) { s.positions = 5; });
    add("gpt2 without a latent left", gpt2, [](Shape& s) { s.latents = 0; });
    const Shape gemma2 = with_autoencoders(gemma(), errors);
    add("gemma2 with autoencoders", gemma2, [](Shape&) {});
    add("parallel llama, latents per position",
        with_autoencoders(llama(), errors),
        [](Shape& s) {
          s.parallel = true;
          s.positions = 5;
        });
  }
  return kinds;
}

Kind::Kind(const Shape& s, int64_t seq_len, at::ScalarType type)
    : shape(s),
      model(random_transformer(shape, type), edge_wrappers(shape, seq_len)) {
  at::manual_seed(3);
  clean = to_device(at::randint(shape.d_vocab, {3, 5}, at::kLong));
  corrupt = to_device(at::randint(shape.d_vocab, {3, 5}, at::kLong));
  context.patch_src_outs =
      source_ablations(model, {.value = corrupt}, BatchAblation::kResample);
  context.masks =
      to_device(at::rand({model.n_masks()}, accumulation_type(type)));
}

void for_each_kind(const std::function<void(const Shape&)>& body) {
  for (const auto& [name, shape] : kinds()) {
    try {
      body(shape);
    } catch (const std::exception& error) {
      throw CheckFailure(name + ": " + error.what());
    }
  }
}

} // namespace autocircuit::test
