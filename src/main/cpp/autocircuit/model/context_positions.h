#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

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

/// Where the tokens of one forward stand and who sees whom; the same for
/// every block.
class ContextPositions {
 public:
  /// attention_mask: undefined, or [batch, seq] of 0 for left padding and 1 for
  /// tokens, int64 or bool.
  ContextPositions(
      int64_t batch,
      int64_t seq,
      int64_t prefix,
      const at::Tensor& attention_mask,
      const at::TensorOptions& options);

  /// Position of each token: [seq], or [batch, seq] with an attention mask;
  /// padding stands at 0.
  const at::Tensor& of_tokens() const {
    return tokens_;
  }
  /// The same with the prefix in front: [prefix + seq] or [batch, prefix +
  /// seq].
  const at::Tensor& of_keys() const {
    return keys_;
  }
  /// What is added to attention scores: 0 where a query may look, -inf where
  /// not; [seq, prefix + seq] or [batch, 1, seq, prefix + seq]. A window limits
  /// how far back it looks; 0 does not. Padding looks at itself, so that no
  /// softmax is empty; `clear_padding` takes the result away.
  at::Tensor attention_bias(int64_t window) const;

  /// Attention patterns [batch, heads, seq, keys] without those of padding.
  at::Tensor clear_padding(const at::Tensor& pattern) const;

  /// Learned embeddings of the tokens' positions [batch or 1, seq, d_model];
  /// that of padding is 0.
  at::Tensor embed(const at::Tensor& w_pos) const;

 private:
  int64_t seq_;
  int64_t prefix_;
  at::TensorOptions options_;
  at::Tensor present_; // [batch, seq] in the model's type; undefined: all
  at::Tensor tokens_;
  at::Tensor keys_;
};

} // namespace autocircuit
