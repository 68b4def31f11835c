#include "autocircuit/model/transformer.h"

#include <ATen/ops/index.h>
#include <ATen/ops/tanh.h>

#include <algorithm>
#include <cmath>

#include "autocircuit/memory/rehearsal.h"
#include "autocircuit/model/description.h"
#include "autocircuit/model/precision.h"
#include "autocircuit/ops/few_rows.h"
#include "autocircuit/ops/pieces.h"

namespace autocircuit {

namespace {

// Hook points: embeddings, the blocks', those of the final norm.
constexpr HookId kEmbed = 0;
constexpr HookId kPosEmbed = 1;

// A token outside the vocabulary would be read from memory that is not ours.
// Only where looking costs no synchronisation.
void check_tokens(const at::Tensor& tokens, int64_t d_vocab) {
  if (!tokens.is_cpu()) {
    return;
  }
  const at::Tensor contiguous = tokens.contiguous();
  const auto* ids = contiguous.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < contiguous.numel(); i++) {
    TORCH_CHECK(
        ids[i] >= 0 && ids[i] < d_vocab,
        "expected tokens from 0 to ",
        d_vocab - 1,
        ", got ",
        ids[i],
        " in example ",
        i / tokens.size(1),
        " at position ",
        i % tokens.size(1));
  }
}

std::optional<AutoencoderShape> autoencoder_shape(
    const Description& description,
    int64_t block) {
  const double latents =
      description.number("autoencoder_latents." + std::to_string(block), -1);
  if (latents < 0) {
    return std::nullopt;
  }
  return AutoencoderShape{
      .n_latents = static_cast<int64_t>(latents),
      .positions = description.size("autoencoder_positions", 0),
      .error_node = description.flag("autoencoder_errors")};
}

BlockShape block_shape(const Description& description, int64_t block) {
  BlockShape shape;
  shape.norm = norm_named(
      description.text("norm", "layer_norm"), description.number("eps"));
  shape.norm.weight_offset = description.number("norm_weight_offset", 0);
  AttentionShape& attention = shape.attention;
  attention.d_model = description.size("d_model");
  attention.n_heads = description.size("n_heads");
  attention.n_kv_heads =
      description.size("n_key_value_heads", attention.n_heads);
  attention.d_head = description.size("d_head");
  attention.scale = description.number(
      "attn_scale", 1 / std::sqrt(static_cast<double>(attention.d_head)));
  attention.soft_cap = description.number("attn_soft_cap", 0);
  // Every window_every-th block from window_first on looks back only so far.
  const int64_t window = description.size("window", 0);
  const int64_t every = description.size("window_every", 1);
  if (window > 0 && block % every == 0) {
    attention.window = window;
  }
  attention.qkv_bias = !description.flag("no_qkv_bias");
  attention.output_bias = !description.flag("no_attn_output_bias");
  if (description.flag("qk_norm")) {
    attention.qk_norm = shape.norm;
  }
  if (!description.flag("attn_only")) {
    shape.d_mlp = description.size("d_mlp");
    shape.activation = activation_named(description.text("act_fn"));
    shape.gated = description.flag("gated_mlp");
    shape.mlp_bias = !description.flag("no_mlp_bias");
    shape.parallel = description.flag("parallel_attn_mlp");
    shape.autoencoder = autoencoder_shape(description, block);
  }
  shape.post_norms = description.flag("post_norms");
  return shape;
}

} // namespace

Transformer::Transformer(const std::string& text, Weights weights)
    : Model(
          text,
          std::move(weights),
          Description(text).size("n_layers"),
          Description(text).size("d_model")) {
  const Description description(text);
  const Weights& w = this->weights();
  const int64_t d_vocab = description.size("d_vocab");
  n_ctx_ = description.size("n_ctx");
  can_begin_with_prefix_ = description.size("autoencoder_positions", 0) == 0;
  embed_scale_ = description.number("embed_scale", 1);
  logit_cap_ = description.number("logit_soft_cap", 0);

  std::vector<std::string> hooks{"hook_embed", "hook_pos_embed"};
  std::vector<ModelNode> nodes{{.outputs = {kEmbed, kPosEmbed}}};
  std::vector<StreamPart> parts;
  w_e_ = w.get("embed.W_E", {d_vocab, d_model()});
  if (description.text("positions", "learned") == "learned") {
    w_pos_ = w.get("pos_embed.W_pos", {n_ctx_, d_model()});
  } else {
    rotary_.emplace(
        description, description.size("d_head"), options().device());
  }
  for (int64_t n = 0; n < n_layers(); n++) {
    const BlockShape shape = block_shape(description, n);
    blocks_.emplace_back(w, n, shape, static_cast<HookId>(hooks.size()));
    const std::vector<std::string> names = Block::hook_names(n, shape);
    if (n == 0) { // hook_resid_pre, the sum of the embeddings
      const auto stream = static_cast<HookId>(hooks.size());
      nodes[0].outputs.push_back(stream);
      parts.push_back({.sources = {stream}, .seen_from = stream});
    }
    hooks.insert(hooks.end(), names.begin(), names.end());
    for (ModelNode& node : blocks_.back().nodes(n)) {
      nodes.push_back(std::move(node));
    }
    for (StreamPart& part : blocks_.back().stream_parts()) {
      parts.push_back(std::move(part));
    }
    const int64_t window = blocks_.back().window();
    if (std::find(windows_.begin(), windows_.end(), window) == windows_.end()) {
      windows_.push_back(window);
    }
  }
  final_hook_ = static_cast<HookId>(hooks.size());
  ln_final_.emplace(w, "ln_final", d_model(), block_shape(description, 0).norm);
  hooks.insert(
      hooks.end(), {"ln_final.hook_scale", "ln_final.hook_normalized"});
  w_u_ = w.get("unembed.W_U", {d_vocab, d_model()});
  b_u_ = w.get_optional("unembed.b_U", {d_vocab});
  nodes.push_back(
      {.inputs = {blocks_.back().last_hook()}, .block = n_layers()});
  set_structure(std::move(hooks), std::move(nodes), std::move(parts));
}

std::optional<CacheShape> Transformer::cache_shape() const {
  return can_begin_with_prefix_
      ? std::optional<CacheShape>(blocks_[0].cache_shape(n_layers()))
      : std::nullopt;
}

void Transformer::check_first_input(const ModelInput& input) const {
  const at::Tensor& value = input.value;
  TORCH_CHECK(
      value.dim() == 2 && value.scalar_type() == at::kLong,
      "expected tokens [batch, seq] of int64, got ",
      value.sizes(),
      " of ",
      value.dtype());
  const int64_t positions =
      input.packed != nullptr ? input.packed->longest() : value.size(1);
  TORCH_CHECK(
      positions <= n_ctx_,
      "expected at most ",
      n_ctx_,
      " positions, got ",
      positions);
  check_tokens(value, w_e_.size(0));
}

void Transformer::check_context(const ModelInput& input) const {
  const at::Tensor& mask = input.attention_mask;
  TORCH_CHECK(
      !mask.defined() ||
          (mask.sizes() == input.value.sizes().slice(0, 2) &&
           at::isIntegralType(mask.scalar_type(), /*includeBool=*/true) &&
           mask.device() == options().device()),
      "expected an attention mask ",
      input.value.sizes().slice(0, 2),
      " of integers or booleans on ",
      options().device(),
      ", got ",
      mask.sizes(),
      " of ",
      mask.dtype(),
      " on ",
      mask.device());
  check_prefix(input);
}

void Transformer::check_prefix(const ModelInput& input) const {
  const PrefixCache& prefix = input.prefix;
  if (prefix.empty()) {
    return;
  }
  TORCH_CHECK(
      prefix.keys.size() == blocks_.size() &&
          prefix.values.size() == blocks_.size(),
      "expected keys and values of a prefix for each of ",
      blocks_.size(),
      " blocks, got ",
      prefix.keys.size(),
      " and ",
      prefix.values.size());
  TORCH_CHECK(
      prefix.length() + input.value.size(1) <= n_ctx_,
      "expected at most ",
      n_ctx_,
      " positions, got a prefix of ",
      prefix.length(),
      " and ",
      input.value.size(1));
  const std::vector<int64_t> first = prefix.keys[0].sizes().vec();
  for (size_t n = 0; n < blocks_.size(); n++) {
    for (const at::Tensor& entry : {prefix.keys[n], prefix.values[n]}) {
      TORCH_CHECK(
          entry.dim() == 4 && entry.sizes() == first &&
              (entry.size(0) == 1 || entry.size(0) == input.value.size(0)) &&
              blocks_[n].fits_prefix(entry) &&
              entry.dtype() == options().dtype() &&
              entry.device() == options().device(),
          "prefix of block ",
          n,
          ": expected keys and values [1 or ",
          input.value.size(0),
          ", prefix, key/value heads, d_head] of ",
          options().dtype(),
          " on ",
          options().device(),
          ", got ",
          entry.sizes(),
          " of ",
          entry.dtype(),
          " on ",
          entry.device());
    }
  }
}

at::Tensor Transformer::embed(
    const at::Tensor& tokens,
    const ContextPositions& positions,
    Hooks& hooks) const {
  // Not at::embedding, which has no kernel for the meta device.
  at::Tensor embed = at::index(w_e_, {tokens}); // [batch, seq, d_model]
  if (embed_scale_ != 1) {
    embed = embed * embed_scale_;
  }
  embed = hooks.visit(kEmbed, embed);
  if (!w_pos_.defined()) {
    return embed;
  }
  return embed +
      hooks.visit(kPosEmbed, positions.embed(w_pos_).expand_as(embed));
}

at::Tensor Transformer::unembed(
    const at::Tensor& resid,
    const BackwardRules& rules,
    Hooks& hooks) const {
  ln_final_->read(resid, final_hook_, final_hook_ + 1, hooks);
  const at::Tensor x = ln_final_->under(rules)(resid);
  const MemoryPartScope part(MemoryPart::kLogits);
  const bool apart = hooks.tokens_are_apart();
  at::Tensor logits = apart ? times_rows_apart(x, w_u_) : times_rows(x, w_u_);
  if (b_u_.defined()) {
    logits = logits + b_u_;
  }
  if (logit_cap_ <= 0) {
    return logits;
  }
  const at::Tensor wide =
      logits.to(accumulation_type(logits.scalar_type())) / logit_cap_;
  const at::Tensor capped = apart
      ? in_pieces(
            wide.flatten(0, -2),
            [](const at::Tensor& y) { return at::tanh(y); })
            .view_as(wide)
      : at::tanh(wide);
  return (capped * logit_cap_).to(logits.scalar_type());
}

ContextPositions Transformer::places_of(const ModelInput& input) const {
  return input.packed != nullptr
      ? ContextPositions(*input.packed, options(), rotary_)
      : ContextPositions(
            input.value.size(1),
            input.prefix.length(),
            input.attention_mask,
            options(),
            rotary_,
            windows_);
}

at::Tensor Transformer::pattern(
    int64_t block,
    const at::Tensor& queries,
    const at::Tensor& keys,
    const ModelInput& input) const {
  return blocks_[static_cast<size_t>(block)].pattern(
      queries, keys, places_of(input), input.prefix);
}

at::Tensor Transformer::forward(const ModelInput& input, Hooks& hooks) const {
  const ContextPositions positions = places_of(input);
  at::Tensor resid =
      input.is_resid ? input.value : embed(input.value, positions, hooks);
  for (int64_t n = input.start_block; n < n_layers(); n++) {
    const bool last_only = n + 1 == n_layers() && hooks.ends_at_last();
    resid = blocks_[static_cast<size_t>(n)](
        std::move(resid),
        positions,
        input.prefix,
        input.rules,
        last_only,
        hooks);
  }
  // Nothing after the last block mixes positions.
  return unembed(
      input.packed != nullptr ? resid.index_select(1, input.packed->wanted())
                              : slice_positions(resid, input.slice),
      input.rules,
      hooks);
}

} // namespace autocircuit
