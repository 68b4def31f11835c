#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "autocircuit/engine/masked_rows.h"
#include "autocircuit/engine/term_rows.h"
#include "autocircuit/kernels/tensors.h"

// The functions of masked_rows.h from the kernels: for fp32 on the CPU.
namespace autocircuit {

/// Tokens that share their mask values: all of them, or those of one example,
/// of one position, or a single one.
struct TokenGroups {
  TokenGroups(const at::Tensor& values, const at::Tensor& delta)
      : batch(delta.size(0)),
        seq(delta.size(1)),
        by_example(values.size(0) > 1),
        by_position(values.size(1) > 1) {}

  int64_t size() const {
    return (by_example ? batch : 1) * (by_position ? seq : 1);
  }
  int64_t tokens() const {
    return batch * seq / size();
  }
  /// Example and position of a group's i-th token.
  std::pair<int64_t, int64_t> at(int64_t group, int64_t i) const {
    if (by_example) {
      return by_position ? std::pair{group / seq, group % seq}
                         : std::pair{group, i};
    }
    return by_position ? std::pair{i, group} : std::pair{i / seq, i % seq};
  }

  int64_t batch;
  int64_t seq;
  bool by_example;
  bool by_position;
};

/// Mask values [batch or 1, seq or 1, rows, n] for each token, a view.
inline at::Tensor for_tokens(
    const at::Tensor& values,
    const at::Tensor& delta) {
  return values.expand({delta.size(0), delta.size(1), -1, -1});
}

/// Says how a backward gets a token's rows: recomputed, or all equal to the
/// stream.
enum class RowSource { kMixed, kEqual };

at::Tensor kernel_masked_rows(
    const RowBases& bases,
    const at::Tensor& weights,
    const at::Tensor& delta,
    const Norm* norm);

/// Rows with few terms: y[b, s, r] = norm(base[b, s, r] + the sum over t from
/// starts[r] to starts[r + 1] of weights[b, s, t] * delta[b, s, terms[t]]).
/// weights [batch or 1, seq or 1, terms], delta [batch, seq, n, d_model]; norm
/// may be nullptr.
at::Tensor kernel_sparse_rows(
    const RowBases& bases,
    const std::vector<int64_t>& starts,
    const std::vector<int64_t>& terms,
    const at::Tensor& weights,
    const at::Tensor& delta,
    const Norm* norm);

/// See term_rows.h.
at::Tensor kernel_term_rows(
    const std::vector<TermRow>& rows,
    int64_t positions,
    const at::Tensor& baseline,
    const at::Tensor& changed);

MaskedRowsGradient kernel_rows_backward(
    RowSource source,
    const at::Tensor& grad,
    const RowBases& bases,
    const at::Tensor& weights,
    const at::Tensor& delta,
    const Norm* norm,
    WantedGradients wanted,
    const at::Tensor& grad_delta);

at::Tensor kernel_sum_rows(const at::Tensor& rows, const at::Tensor& patch);

/// Adds rows [batch, seq, n, d_model] to sum [batch, seq, d_model].
void kernel_add_rows(const at::Tensor& sum, const at::Tensor& rows);

} // namespace autocircuit
