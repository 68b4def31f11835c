#pragma once

#include <array>
#include <string>
#include <string_view>

#include "autocircuit/model/attention.h"
#include "autocircuit/model/layer_norm.h"
#include "autocircuit/model/mlp.h"

namespace autocircuit {

/// What the blocks of one transformer have in common.
struct BlockShape {
  int64_t d_model;
  int64_t n_heads;
  int64_t d_head;
  int64_t d_mlp;
  double eps;
  Activation activation;
};

/// Attention, then an MLP, each reading a norm of the residual stream and
/// adding to it.
class Block {
 public:
  /// Hook points of a block, in execution order, under TransformerLens's
  /// names.
  enum Hook : HookId {
    kResidPre,
    kAttnIn,
    kQInput,
    kKInput,
    kVInput,
    kLn1Scale,
    kLn1Normalized,
    kQ,
    kK,
    kV,
    kScores,
    kPattern,
    kZ,
    kResult,
    kAttnOut,
    kResidMid,
    kMlpIn,
    kLn2Scale,
    kLn2Normalized,
    kPre,
    kPost,
    kMlpOut,
    kResidPost,
    kHookCount
  };
  static constexpr std::array<std::string_view, kHookCount> kHookNames{
      "hook_resid_pre",      "hook_attn_in",          "hook_q_input",
      "hook_k_input",        "hook_v_input",          "ln1.hook_scale",
      "ln1.hook_normalized", "attn.hook_q",           "attn.hook_k",
      "attn.hook_v",         "attn.hook_attn_scores", "attn.hook_pattern",
      "attn.hook_z",         "attn.hook_result",      "hook_attn_out",
      "hook_resid_mid",      "hook_mlp_in",           "ln2.hook_scale",
      "ln2.hook_normalized", "mlp.hook_pre",          "mlp.hook_post",
      "hook_mlp_out",        "hook_resid_post"};

  /// prefix: "blocks.N."; first_hook: id of its hook_resid_pre.
  Block(
      const Weights& weights,
      const std::string& prefix,
      const BlockShape& shape,
      HookId first_hook);

  /// Residual stream in, residual stream out: [batch, seq, d_model].
  at::Tensor operator()(at::Tensor resid, Hooks& hooks) const;

 private:
  HookId hook(Hook hook) const {
    return first_hook_ + hook;
  }
  at::Tensor attention_inputs(const at::Tensor& resid, Hooks& hooks) const;

  int64_t n_heads_;
  HookId first_hook_;
  LayerNorm ln1_;
  Attention attention_;
  LayerNorm ln2_;
  Mlp mlp_;
};

} // namespace autocircuit
