#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "autocircuit/model/hooks.h"
#include "autocircuit/model/weights.h"

namespace autocircuit {

/// Hook points of one attention layer.
struct AttentionHooks {
  HookId q, k, v, scores, pattern, z, result;
};

/// Causal multi-head attention, from normed inputs to what is added to the
/// residual stream.
class Attention {
 public:
  Attention(
      const Weights& weights,
      const std::string& prefix,
      int64_t d_model,
      int64_t n_heads,
      int64_t d_head,
      AttentionHooks hook_ids);

  /// x: the normed inputs of all heads at once [batch, seq, d_model], or of
  /// each head [heads, batch, seq, d_model], or of each head's q, k and v
  /// [3 * heads, batch, seq, d_model]. Returns [batch, seq, d_model].
  at::Tensor operator()(const at::Tensor& x, Hooks& hooks) const;

 private:
  /// q, k and v of every head: [3 * heads, batch, seq, d_head].
  at::Tensor project(const at::Tensor& x) const;

  int64_t n_heads_;
  int64_t d_head_;
  at::Tensor w_qkv_; // [d_model, 3 * heads * d_head]
  at::Tensor b_qkv_; // [3 * heads * d_head]
  at::Tensor w_o_;   // [heads * d_head, d_model]
  at::Tensor b_o_;   // [d_model]
  AttentionHooks hook_ids_;
};

} // namespace autocircuit
