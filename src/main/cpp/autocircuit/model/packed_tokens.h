#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "autocircuit/model/sequence.h"

namespace autocircuit {

/// Tokens of one sequence in a pass, behind those that it has.
struct Chunk {
  Sequence* sequence;
  int64_t first;    // token of the pass
  int64_t position; // in the sequence
  int64_t tokens;
};

/// Holds what attention does to scores.
struct ScoreShape {
  double scale = 1;
  double soft_cap = 0; // 0: none
  int64_t window = 0;  // positions that a query sees; 0: all before it
};

/// The tokens of a pass [1, tokens] that belong to several sequences, one chunk
/// after another. What a token computes depends on its own sequence alone: in
/// fp32 on the CPU it has the same bits whatever stands beside it, however a
/// sequence falls into chunks, and for any number of threads.
class PackedTokens {
 public:
  /// wanted: tokens whose logits are asked for, in order.
  PackedTokens(
      std::vector<Chunk> chunks,
      std::vector<int64_t> wanted,
      at::Device device);

  int64_t size() const {
    return positions_.size(0);
  }
  /// Returns how many positions the longest sequence has after the pass.
  int64_t longest() const {
    return longest_;
  }
  /// Of each token in its sequence: [tokens].
  const at::Tensor& positions() const {
    return positions_;
  }
  /// [wanted tokens]
  const at::Tensor& wanted() const {
    return wanted_;
  }

  /// Adds keys and values of a block to the sequences of the tokens from
  /// `first` on, which is where a chunk begins, and lets their queries look
  /// back: z [1, tokens, heads, d_head]. q, k: rotated, [1, tokens, heads,
  /// d_head]; each sequence may have as many key/value heads or a multiple.
  at::Tensor attend(
      int64_t block,
      int64_t first,
      const at::Tensor& q,
      const at::Tensor& k,
      const at::Tensor& v,
      const ScoreShape& shape) const;

 private:
  std::vector<Chunk> chunks_;
  int64_t longest_ = 0;
  at::Tensor positions_;
  at::Tensor wanted_;
};

} // namespace autocircuit
