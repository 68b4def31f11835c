#include "autocircuit/model/transformer.h"

#include <ATen/ops/index.h>
#include <ATen/ops/linear.h>

#include "autocircuit/model/description.h"

namespace autocircuit {

namespace {

// Hook points: embeddings, the blocks', those of the final norm.
constexpr HookId kEmbed = 0;
constexpr HookId kPosEmbed = 1;
constexpr HookId kFirstBlock = 2;

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

} // namespace

Transformer::Transformer(const std::string& text, Weights weights)
    : Model(
          text,
          std::move(weights),
          Description(text).size("n_layers"),
          Description(text).size("d_model")) {
  const Description description(text);
  const int64_t d_vocab = description.size("d_vocab");
  const BlockShape shape{
      .d_model = d_model(),
      .n_heads = description.size("n_heads"),
      .d_head = description.size("d_head"),
      .d_mlp = description.size("d_mlp"),
      .eps = description.number("eps"),
      .activation = activation_named(description.text("act_fn"))};
  const Weights& w = this->weights();

  std::vector<std::string> hooks{"hook_embed", "hook_pos_embed"};
  w_e_ = w.get("embed.W_E", {d_vocab, d_model()});
  w_pos_ = w.get("pos_embed.W_pos", {description.size("n_ctx"), d_model()});
  for (int64_t n = 0; n < n_layers(); n++) {
    const std::string prefix = "blocks." + std::to_string(n) + ".";
    blocks_.emplace_back(w, prefix, shape, static_cast<HookId>(hooks.size()));
    for (const std::string_view name : Block::kHookNames) {
      hooks.push_back(prefix + std::string(name));
    }
  }
  ln_final_.emplace(w, "ln_final", d_model(), shape.eps);
  hooks.insert(
      hooks.end(), {"ln_final.hook_scale", "ln_final.hook_normalized"});
  w_u_ = w.get("unembed.W_U", {d_vocab, d_model()});
  b_u_ = w.get_optional("unembed.b_U", {d_vocab});
  set_hook_names(std::move(hooks));
}

HookId Transformer::final_hook(int64_t hook) const {
  return kFirstBlock + n_layers() * Block::kHookCount + hook;
}

void Transformer::check_first_input(const at::Tensor& value) const {
  TORCH_CHECK(
      value.dim() == 2 && value.scalar_type() == at::kLong,
      "expected tokens [batch, seq] of int64, got ",
      value.sizes(),
      " of ",
      value.dtype());
  TORCH_CHECK(
      value.size(1) <= w_pos_.size(0),
      "expected at most ",
      w_pos_.size(0),
      " positions, got ",
      value.size(1));
  check_tokens(value, w_e_.size(0));
}

at::Tensor Transformer::embed(const at::Tensor& tokens, Hooks& hooks) const {
  // Not at::embedding, which has no kernel for the meta device.
  const at::Tensor embed =
      hooks.visit(kEmbed, at::index(w_e_, {tokens})); // [batch, seq, d_model]
  const at::Tensor pos = hooks.visit(
      kPosEmbed,
      w_pos_.narrow(0, 0, tokens.size(1)).unsqueeze(0).expand_as(embed));
  return embed + pos;
}

at::Tensor Transformer::unembed(const at::Tensor& resid, Hooks& hooks) const {
  ln_final_->read(resid, final_hook(0), final_hook(1), hooks);
  return b_u_.defined() ? at::linear((*ln_final_)(resid), w_u_, b_u_)
                        : at::linear((*ln_final_)(resid), w_u_);
}

at::Tensor Transformer::forward(const ModelInput& input, Hooks& hooks) const {
  at::Tensor resid =
      input.start_block == 0 ? embed(input.value, hooks) : input.value;
  for (int64_t n = input.start_block; n < n_layers(); n++) {
    resid = blocks_[static_cast<size_t>(n)](std::move(resid), hooks);
  }
  // Nothing after the last block mixes positions.
  return unembed(slice_positions(resid, input.slice), hooks);
}

} // namespace autocircuit
