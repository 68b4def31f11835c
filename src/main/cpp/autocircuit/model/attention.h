#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <optional>
#include <string>
#include <utility>

#include "autocircuit/model/backward_rules.h"
#include "autocircuit/model/context_positions.h"
#include "autocircuit/model/hooks.h"
#include "autocircuit/model/norm.h"
#include "autocircuit/model/weights.h"

namespace autocircuit {

struct AttentionShape {
  int64_t d_model;
  int64_t n_heads;
  int64_t n_kv_heads; // fewer than n_heads: grouped-query attention
  int64_t d_head;
  double scale;        // of the scores
  double soft_cap = 0; // scores become cap * tanh(scores / cap); 0: they stay
  int64_t window = 0;  // positions that a query sees; 0: all before it
  std::optional<NormShape> qk_norm; // of each head's query and key
  bool qkv_bias = true;             // there may be one
  bool output_bias = true;          // there may be one
};

/// Hook points of one attention layer.
struct AttentionHooks {
  HookId q, k, v, scores, pattern, z, result;
};

/// Holds what the heads of a block read, normed.
struct AttentionInputs {
  /// Of all heads at once [batch, seq, d_model], or of each head [batch, seq,
  /// heads, d_model], or of each head's q, k and v [batch, seq, heads + 2 *
  /// key/value destinations, d_model], where K and V have a destination for
  /// each of their own heads or for each query head. Undefined if `some` has
  /// all other projections.
  at::Tensor x;
  /// Of the queries, where only the last position's count: [batch, 1, d_model]
  /// or [batch, 1, heads, d_model]. x is then that of k and v, and not of each
  /// head for all three.
  at::Tensor queries = {};
  /// That not all heads run, or that some inputs are `rows` [batch, seq, rows,
  /// d_model] instead; or nullptr.
  const SomeHeads* some = nullptr;
  at::Tensor rows = {};
};

/// Causal multi-head attention, from normed inputs to what is added to the
/// residual stream.
class Attention {
 public:
  Attention(
      const Weights& weights,
      const std::string& prefix,
      AttentionShape shape,
      int64_t block,
      AttentionHooks hook_ids);

  /// Returns z [batch, seq, heads that run, d_head], or what it is at the last
  /// position alone.
  at::Tensor mix(
      const AttentionInputs& inputs,
      const ContextPositions& positions,
      const PrefixCache& prefix,
      const BackwardRules& rules,
      bool last_only,
      Hooks& hooks) const;

  /// The same of packed tokens: first those whose heads all read the same,
  /// shared [1, tokens, d_model], then those with inputs of their own, rows [1,
  /// tokens, rows, d_model]; either may be undefined.
  at::Tensor mix_packed(
      const at::Tensor& shared,
      const at::Tensor& rows,
      const ContextPositions& positions) const;

  /// Returns the patterns [batch, heads, seq, keys] of queries and keys that
  /// read these, normed [batch, seq, d_model]; where one of them has fewer
  /// examples they are repeated.
  at::Tensor pattern(
      const at::Tensor& queries,
      const at::Tensor& keys,
      const ContextPositions& positions,
      const PrefixCache& prefix) const;

  /// Returns what the heads add to the residual stream [batch, seq, d_model]. A
  /// post-norm's factors apply to each head's part, so that the heads' results
  /// sum to what is added. Undefined if not all heads run, or if nobody needs
  /// the residual stream.
  at::Tensor add_heads(
      const at::Tensor& z,
      const SomeHeads* some,
      const std::optional<Norm>& post_norm,
      Hooks& hooks) const;

  /// Returns what the stream has beside the heads' outputs: b_O [d_model], or
  /// undefined.
  const at::Tensor& constant() const {
    return b_o_;
  }

  int64_t window() const {
    return shape_.window;
  }
  /// Multiplications for each token, scores aside.
  double cost() const {
    return static_cast<double>(w_qkv_.numel() + w_o_.numel());
  }

  int64_t d_model() const {
    return shape_.d_model;
  }
  CacheShape cache_shape(int64_t layers) const {
    return {
        .layers = layers,
        .heads = shape_.n_heads,
        .kv_heads = shape_.n_kv_heads,
        .d_head = shape_.d_head};
  }

  bool fits_prefix(const at::Tensor& entry) const {
    return entry.size(2) == shape_.n_kv_heads && entry.size(3) == shape_.d_head;
  }

 private:
  /// z [batch, seq, heads, d_head] -> [batch, seq, d_model].
  at::Tensor sum_heads(const at::Tensor& z) const;

  /// The pattern of queries [batch, positions, heads, d_head] that are the last
  /// ones, and of keys behind their prefix, both before their rotation. hooks:
  /// who reads scores, or nullptr.
  at::Tensor pattern_of(
      const at::Tensor& q,
      const at::Tensor& k,
      const ContextPositions& positions,
      const BackwardRules& rules,
      bool last_only,
      Hooks* hooks) const;

  Projections project(const at::Tensor& x, const at::Tensor& queries) const;
  /// Those of both operands of `mix_packed`, which read the weights once.
  std::array<Projections, 2> project_both(
      const at::Tensor& shared,
      const at::Tensor& rows) const;
  /// The projections of the heads that run: those of `rows` in the place of
  /// others.
  Projections project_some(
      const Projections& others,
      const SomeHeads& some,
      const at::Tensor& rows) const;
  /// Heads of W_QKV, from an input that they share [batch, seq, d_model].
  at::Tensor project_shared(
      const at::Tensor& x,
      int64_t first_head,
      int64_t heads) const;
  /// Weights [heads, d_model, d_head] and biases [heads, d_head], which may be
  /// undefined, of these heads.
  std::pair<at::Tensor, at::Tensor> head_weights(
      int64_t first_head,
      int64_t heads) const;
  /// The same from inputs of their own or for each of the query heads
  /// that share them.
  at::Tensor project_rows(
      const at::Tensor& rows,
      int64_t first_head,
      int64_t heads) const;

  AttentionShape shape_;
  int64_t block_;
  at::Tensor w_qkv_; // [d_model, (heads + 2 * key/value heads) * d_head]
  at::Tensor b_qkv_; // [(heads + 2 * key/value heads) * d_head], or undefined
  at::Tensor w_o_;   // [heads * d_head, d_model]
  at::Tensor b_o_;   // [d_model], or undefined
  std::optional<Norm> q_norm_;
  std::optional<Norm> k_norm_;
  AttentionHooks hook_ids_;
};

} // namespace autocircuit
