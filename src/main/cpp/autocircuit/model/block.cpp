#include "autocircuit/model/block.h"

#include <algorithm>

namespace autocircuit {

namespace {

std::string block_prefix(int64_t block) {
  return "blocks." + std::to_string(block) + ".";
}

// The residual stream ends where a part of it is missing.
at::Tensor sum(const at::Tensor& resid, const at::Tensor& added) {
  return resid.defined() && added.defined() ? resid + added : at::Tensor();
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
    TORCH_CHECK(
        !attention_.constant().defined(),
        "expected no bias of the attention output before a post-norm");
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
      shape.mlp_bias,
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

std::vector<ModelNode> Block::nodes(int64_t block) const {
  // Behind a post-norm, what a head adds depends on all of them.
  std::vector<ModelNode> nodes{
      {.inputs = {hook(kQInput), hook(kKInput), hook(kVInput)},
       .outputs = {hook(kResult)},
       .added = hook(kAttnOut),
       .projections = {hook(kQ), hook(kK), hook(kV)},
       .heads = ln1_post_ ? 1 : n_heads_,
       .block = block,
       .cost = attention_.cost()}};
  if (!mlp_) {
    return nodes;
  }
  ModelNode mlp{
      .inputs = {hook(kMlpIn)},
      .outputs = {hook(kMlpOut)},
      .added = hook(kMlpOut),
      .block = block,
      .cost = mlp_->cost()};
  for (HookId part = 0; autoencoder_ && part < SparseAutoencoder::kHookCount;
       part++) {
    mlp.outputs.push_back(first_hook_ + kMlpOut + part);
  }
  nodes.push_back(std::move(mlp));
  return nodes;
}

std::vector<StreamPart> Block::stream_parts() const {
  std::vector<StreamPart> parts{
      {.sources = {hook(kResult)},
       .seen_from = hook(parallel_ || !mlp_ ? kResidPost : kResidMid),
       .constant = attention_.constant()}};
  if (autoencoder_) {
    parts.push_back(
        {.sources = autoencoder_->sources(),
         .seen_from = hook(kResidPost),
         .constant = autoencoder_->constant()});
  } else if (mlp_) {
    parts.push_back(
        {.sources = {hook(kMlpOut)}, .seen_from = hook(kResidPost)});
  }
  return parts;
}

HeadInputs Block::attention_inputs(
    const at::Tensor& resid,
    const Norm& norm,
    Hooks& hooks) const {
  HeadInputs inputs = hooks.head_inputs(
      {hook(kQInput), hook(kKInput), hook(kVInput)},
      {n_heads_, n_kv_heads_, n_kv_heads_},
      resid,
      &norm);
  if (!inputs.rows.defined() && !inputs.some) {
    inputs = hooks.head_inputs({hook(kAttnIn)}, {n_heads_}, resid, &norm);
  }
  return inputs;
}

at::Tensor Block::mix_packed(
    const at::Tensor& resid,
    const HeadInputs& inputs,
    const Norm& norm,
    const ContextPositions& positions) const {
  at::Tensor rows = inputs.rows;
  if (rows.defined() && !inputs.normed) {
    rows = norm(rows);
  }
  const int64_t shared = resid.size(1) - (rows.defined() ? rows.size(1) : 0);
  return attention_.mix_packed(
      shared > 0 ? norm(resid.narrow(1, 0, shared)) : at::Tensor(),
      rows,
      positions);
}

at::Tensor Block::attend(
    const at::Tensor& resid,
    const ContextPositions& positions,
    const PrefixCache& prefix,
    const BackwardRules& rules,
    bool last_only,
    Hooks& hooks) const {
  if (!hooks.runs(hook(kResult))) {
    return hooks.skipped(hook(kAttnOut));
  }
  const Norm ln1 = ln1_.under(rules);
  const HeadInputs inputs = attention_inputs(resid, ln1, hooks);
  const std::optional<Norm> post_norm =
      ln1_post_ ? std::optional<Norm>(ln1_post_->under(rules)) : std::nullopt;
  if (positions.packed() != nullptr) {
    ln1.read(resid, hook(kLn1Scale), hook(kLn1Normalized), hooks);
    const at::Tensor z = mix_packed(resid, inputs, ln1, positions);
    hooks.read(hook(kZ), z);
    return hooks.visit(
        hook(kAttnOut), attention_.add_heads(z, nullptr, post_norm, hooks));
  }
  const SomeHeads* some = inputs.some ? &*inputs.some : nullptr;
  at::Tensor x = some == nullptr && inputs.rows.defined() ? inputs.rows : resid;
  if (some != nullptr && some->others) {
    x = at::Tensor();
  } else if (some != nullptr || !inputs.normed) {
    ln1.read(x, hook(kLn1Scale), hook(kLn1Normalized), hooks);
    x = ln1(x);
  }
  at::Tensor queries = inputs.queries;
  if (queries.defined() && !inputs.normed) {
    queries = ln1(queries);
  } else if (last_only && some == nullptr && !inputs.rows.defined()) {
    queries = x.narrow(1, x.size(1) - 1, 1);
  }
  const at::Tensor z = attention_.mix(
      {.x = x, .queries = queries, .some = some, .rows = inputs.rows},
      positions,
      prefix,
      rules,
      last_only,
      hooks);
  return hooks.visit(
      hook(kAttnOut), attention_.add_heads(z, some, post_norm, hooks));
}

at::Tensor Block::apply_mlp(
    const at::Tensor& resid,
    const BackwardRules& rules,
    Hooks& hooks) const {
  if (!hooks.runs(hook(kMlpOut))) {
    return hooks.skipped(hook(kMlpOut));
  }
  const at::Tensor in = hooks.visit(hook(kMlpIn), resid);
  ln2_->read(in, hook(kLn2Scale), hook(kLn2Normalized), hooks);
  at::Tensor out = (*mlp_)(ln2_->under(rules)(in), rules, hooks);
  if (ln2_post_) {
    out = ln2_post_->under(rules)(out);
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
    const BackwardRules& rules,
    bool last_only,
    Hooks& hooks) const {
  resid = hooks.visit(hook(kResidPre), resid);
  const at::Tensor attended =
      attend(resid, positions, prefix, rules, last_only, hooks);
  if (last_only && resid.defined()) {
    resid = resid.narrow(1, resid.size(1) - 1, 1);
  }
  const at::Tensor after_attention = sum(resid, attended);
  if (!mlp_) {
    return hooks.visit(hook(kResidPost), after_attention);
  }
  if (parallel_) {
    return hooks.visit(
        hook(kResidPost), sum(after_attention, apply_mlp(resid, rules, hooks)));
  }
  const at::Tensor mid = hooks.visit(hook(kResidMid), after_attention);
  return hooks.visit(hook(kResidPost), sum(mid, apply_mlp(mid, rules, hooks)));
}

} // namespace autocircuit
