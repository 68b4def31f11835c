#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace autocircuit {

/// A row that differs from a base by a few terms, weighted rows of two buffers.
struct TermRow {
  at::Tensor base;               // [batch, seq, d_model]
  std::vector<int64_t> baseline; // rows of the one buffer
  std::vector<int64_t> changed;  // rows of the other
  /// Of the baseline terms, then of the changed ones, for each position that
  /// has weights of its own.
  std::vector<double> weights;
};

/// base + sum of weights * terms, for each row: [batch, seq, rows, d_model].
/// baseline, changed: [batch, seq, n, d_model], contiguous. positions: seq, or
/// 1 if all positions share their weights. Not differentiable.
at::Tensor term_rows(
    const std::vector<TermRow>& rows,
    int64_t positions,
    const at::Tensor& baseline,
    const at::Tensor& changed);

} // namespace autocircuit
