#include "autocircuit/model/block.h"

namespace autocircuit {

namespace {

std::string block_prefix(int64_t block) {
  return "blocks." + std::to_string(block) + ".";
}

} // namespace

std::vector<std::string> Block::hook_names(
    int64_t block,
    const BlockShape& shape) {
  const std::string prefix = block_prefix(block);
  std::vector<std::string> names;
  for (size_t i = 0; i < kHookNames.size(); i++) {
    const std::string name = prefix + std::string(kHookNames[i]);
    if (i == kMlpOut && shape.autoencoder) {
      for (const std::string_view part : SparseAutoencoder::kHookNames) {
        names.push_back(name + "." + std::string(part));
      }
    }
    names.push_back(name);
  }
  return names;
}

Block::Block(
    const Weights& weights,
    int64_t block,
    const BlockShape& shape,
    HookId first_hook)
    : n_heads_(shape.attention.n_heads),
      n_kv_heads_(shape.attention.n_kv_heads),
      parallel_(shape.parallel),
      first_hook_(first_hook),
      ln1_(
          weights,
          block_prefix(block) + "ln1",
          shape.attention.d_model,
          shape.norm),
      attention_(
          weights,
          block_prefix(block) + "attn",
          shape.attention,
          block,
          {hook(kQ),
           hook(kK),
           hook(kV),
           hook(kScores),
           hook(kPattern),
           hook(kZ),
           hook(kResult)}) {
  const std::string prefix = block_prefix(block);
  const int64_t d_model = shape.attention.d_model;
  if (shape.post_norms) {
    ln1_post_.emplace(weights, prefix + "ln1_post", d_model, shape.norm);
  }
  if (shape.d_mlp == 0) {
    return;
  }
  ln2_.emplace(weights, prefix + "ln2", d_model, shape.norm);
  mlp_.emplace(
      weights,
      prefix + "mlp",
      d_model,
      shape.d_mlp,
      shape.activation,
      shape.gated,
      hook(kPre),
      hook(kPost));
  if (shape.post_norms) {
    ln2_post_.emplace(weights, prefix + "ln2_post", d_model, shape.norm);
  }
  if (shape.autoencoder) {
    autoencoder_.emplace(
        weights,
        prefix + "hook_mlp_out",
        d_model,
        *shape.autoencoder,
        first_hook + kMlpOut);
  }
}

at::Tensor Block::attention_inputs(const at::Tensor& resid, Hooks& hooks)
    const {
  HeadInputs inputs = hooks.head_inputs(
      {hook(kQInput), hook(kKInput), hook(kVInput)},
      {n_heads_, n_kv_heads_, n_kv_heads_},
      resid,
      &ln1_);
  if (!inputs.rows.defined()) {
    inputs = hooks.head_inputs({hook(kAttnIn)}, {n_heads_}, resid, &ln1_);
  }
  if (inputs.normed) {
    return inputs.rows;
  }
  const at::Tensor& in = inputs.rows.defined() ? inputs.rows : resid;
  ln1_.read(in, hook(kLn1Scale), hook(kLn1Normalized), hooks);
  return ln1_(in);
}

at::Tensor Block::attend(
    const at::Tensor& resid,
    const ContextPositions& positions,
    const PrefixCache& prefix,
    Hooks& hooks) const {
  const at::Tensor z =
      attention_.mix(attention_inputs(resid, hooks), positions, prefix, hooks);
  return hooks.visit(hook(kAttnOut), attention_.add_heads(z, ln1_post_, hooks));
}

at::Tensor Block::apply_mlp(const at::Tensor& resid, Hooks& hooks) const {
  const at::Tensor in = hooks.visit(hook(kMlpIn), resid);
  ln2_->read(in, hook(kLn2Scale), hook(kLn2Normalized), hooks);
  at::Tensor out = (*mlp_)((*ln2_)(in), hooks);
  if (ln2_post_) {
    out = (*ln2_post_)(out);
  }
  if (autoencoder_) {
    out = (*autoencoder_)(out, hooks);
  }
  return hooks.visit(hook(kMlpOut), out);
}

at::Tensor Block::operator()(
    at::Tensor resid,
    const ContextPositions& positions,
    const PrefixCache& prefix,
    Hooks& hooks) const {
  resid = hooks.visit(hook(kResidPre), resid);
  const at::Tensor after_attention =
      resid + attend(resid, positions, prefix, hooks);
  if (!mlp_) {
    return hooks.visit(hook(kResidPost), after_attention);
  }
  if (parallel_) {
    return hooks.visit(
        hook(kResidPost), after_attention + apply_mlp(resid, hooks));
  }
  const at::Tensor mid = hooks.visit(hook(kResidMid), after_attention);
  return hooks.visit(hook(kResidPost), mid + apply_mlp(mid, hooks));
}

} // namespace autocircuit
