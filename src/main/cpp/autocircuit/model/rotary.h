#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

#include "autocircuit/model/description.h"

namespace autocircuit {

/// Turns pairs of dimensions of queries or keys by angles of their own at each
/// position.
class Rotation {
 public:
  /// cos, sin: of the angles, ([batch]) [seq, 1, pairs]. adjacent: whether
  /// dimensions 2i and 2i + 1 are a pair, not i and i + pairs.
  Rotation(at::Tensor cos, at::Tensor sin, bool adjacent)
      : cos_(std::move(cos)), sin_(std::move(sin)), adjacent_(adjacent) {}

  /// x: [batch, seq, heads, d_head]; dimensions beyond the pairs stay.
  at::Tensor operator()(const at::Tensor& x) const;

  /// The rotation of some of the positions.
  Rotation narrow(int64_t start, int64_t n) const;

 private:
  at::Tensor cos_;
  at::Tensor sin_;
  bool adjacent_;
};

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

  /// The rotation at positions [seq] or [batch, seq], for a model whose
  /// tensors have these options.
  Rotation rotation(
      const at::Tensor& positions,
      const at::TensorOptions& options) const;

  /// The same at positions [seq], where no angle's sine or cosine depends in
  /// any bit on how many there are.
  Rotation rotation_of_each(
      const at::Tensor& positions,
      const at::TensorOptions& options) const;

 private:
  int64_t dim_;
  bool adjacent_;
  at::Tensor frequencies_; // [dim / 2], fp64
};

} // namespace autocircuit
