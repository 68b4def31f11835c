#pragma once

#include <ATen/core/Tensor.h>

#include "autocircuit/model/description.h"

namespace autocircuit {

/// Rotary position embedding (Su et al. 2021, "RoFormer"): pairs of
/// dimensions of queries and keys turn by an angle that grows with the
/// position.
class Rotary {
 public:
  /// Reads rotary_dim (the first dimensions of a head turn, the rest stay),
  /// rotary_base, rotary_pairs (half: dimension i with i + dim/2, as in
  /// GPT-NeoX; adjacent: 2i with 2i + 1, as in GPT-J) and rotary_scaling (none,
  /// linear, llama3) with its parameters.
  Rotary(const Description& description, int64_t d_head, at::Device device);

  /// x: [batch, seq, heads, d_head], positions: [seq] or [batch, seq].
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& positions) const;

 private:
  int64_t dim_;
  bool adjacent_;
  at::Tensor frequencies_; // [dim / 2], fp64
};

} // namespace autocircuit
