#include "autocircuit/model/block.h"

namespace autocircuit {

Block::Block(
    const Weights& weights,
    const std::string& prefix,
    const BlockShape& shape,
    HookId first_hook)
    : n_heads_(shape.n_heads),
      first_hook_(first_hook),
      ln1_(weights, prefix + "ln1", shape.d_model, shape.eps),
      attention_(
          weights,
          prefix + "attn",
          shape.d_model,
          shape.n_heads,
          shape.d_head,
          {hook(kQ),
           hook(kK),
           hook(kV),
           hook(kScores),
           hook(kPattern),
           hook(kZ),
           hook(kResult)}),
      ln2_(weights, prefix + "ln2", shape.d_model, shape.eps),
      mlp_(
          weights,
          prefix + "mlp",
          shape.d_model,
          shape.d_mlp,
          shape.activation,
          hook(kPre),
          hook(kPost)) {}

at::Tensor Block::attention_inputs(const at::Tensor& resid, Hooks& hooks)
    const {
  at::Tensor inputs = hooks.head_inputs(
      {hook(kQInput), hook(kKInput), hook(kVInput)}, n_heads_, resid);
  if (!inputs.defined()) {
    inputs = hooks.head_inputs({hook(kAttnIn)}, n_heads_, resid);
  }
  return inputs.defined() ? inputs : resid;
}

at::Tensor Block::operator()(at::Tensor resid, Hooks& hooks) const {
  resid = hooks.visit(hook(kResidPre), resid);
  const at::Tensor attn_in = attention_inputs(resid, hooks);
  ln1_.read(
      attn_in.dim() == 4 ? attn_in.permute({1, 2, 0, 3}) : attn_in,
      hook(kLn1Scale),
      hook(kLn1Normalized),
      hooks);
  const at::Tensor attn_out =
      hooks.visit(hook(kAttnOut), attention_(ln1_(attn_in), hooks));
  resid = hooks.visit(hook(kResidMid), resid + attn_out);

  const at::Tensor mlp_in = hooks.visit(hook(kMlpIn), resid);
  ln2_.read(mlp_in, hook(kLn2Scale), hook(kLn2Normalized), hooks);
  const at::Tensor mlp_out =
      hooks.visit(hook(kMlpOut), mlp_(ln2_(mlp_in), hooks));
  return hooks.visit(hook(kResidPost), resid + mlp_out);
}

} // namespace autocircuit
