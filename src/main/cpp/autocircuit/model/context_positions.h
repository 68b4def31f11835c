#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "autocircuit/model/packed_tokens.h"
#include "autocircuit/model/rotary.h"

namespace autocircuit {

/// Keys (before rotation) and values of a prefix that all examples share or
/// each has its own: [1 or batch, prefix, key/value heads, d_head] for each
/// block. Frozen: no patch reaches them.
struct PrefixCache {
  std::vector<at::Tensor> keys;
  std::vector<at::Tensor> values;

  bool empty() const {
    return keys.empty();
  }
  int64_t length() const {
    return empty() ? 0 : keys[0].size(1);
  }
};

/// The places of one forward's tokens, and who sees whom: made once for a
/// pass, and the same for every block.
class ContextPositions {
 public:
  /// attention_mask: undefined, or [batch, seq] of 0 for padding and anything
  ///   else for tokens.
  /// rotary: none where positions are learned.
  /// windows: those of the blocks' attention, see `attention_bias`.
  ContextPositions(
      int64_t seq,
      int64_t prefix,
      const at::Tensor& attention_mask,
      const at::TensorOptions& options,
      const std::optional<Rotary>& rotary,
      at::IntArrayRef windows);

  /// The places of tokens that are packed, which outlive this.
  ContextPositions(
      const PackedTokens& packed,
      const at::TensorOptions& options,
      const std::optional<Rotary>& rotary);

  /// The tokens that are packed, or nullptr.
  const PackedTokens* packed() const {
    return packed_;
  }
  /// Some of the packed tokens, and the first of them.
  ContextPositions narrow(int64_t first, int64_t tokens) const;
  int64_t first() const {
    return first_;
  }

  /// Returns what is added to attention scores: 0 where a query may look, -inf
  /// where not; [seq, prefix + seq] or [batch, 1, seq, prefix + seq]. A window
  /// limits how many positions back it looks, itself included; 0 does not.
  /// Padding looks at itself, so that no softmax is empty; `clear_padding`
  /// takes the result away.
  const at::Tensor& attention_bias(int64_t window) const;

  /// Attention patterns of the last queries [batch, heads, queries, keys]
  /// without those of padding.
  at::Tensor clear_padding(const at::Tensor& pattern) const;

  /// Learned embeddings of the tokens' positions [batch or 1, seq, d_model];
  /// that of padding is 0.
  at::Tensor embed(const at::Tensor& w_pos) const;

  /// Queries [batch, positions, heads, d_head] of the last positions, turned by
  /// them where these are rotary.
  at::Tensor turn_queries(const at::Tensor& queries) const;

  /// The same of keys [batch, prefix + seq, heads, d_head].
  at::Tensor turn_keys(const at::Tensor& keys) const;

 private:
  at::Tensor make_bias(int64_t window) const;

  int64_t seq_;
  int64_t prefix_;
  const PackedTokens* packed_ = nullptr;
  int64_t first_ = 0; // of the packed tokens
  at::TensorOptions options_;
  at::Tensor present_; // [batch, seq], whether a token; undefined: all are
  // Positions [seq], or [batch, seq] with an attention mask; padding stands
  // where the token before it does, or at 0. Keys: with the prefix in front.
  at::Tensor tokens_;
  at::Tensor keys_;
  std::vector<std::pair<int64_t, at::Tensor>> biases_; // by window
  std::optional<Rotation> rotation_;                   // of the keys' positions
};

} // namespace autocircuit
