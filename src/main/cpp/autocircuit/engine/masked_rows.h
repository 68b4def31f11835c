#pragma once

#include <ATen/core/Tensor.h>

#include "autocircuit/model/norm.h"

// Mixes what a destination reads: each of its rows adds its own weighting of
// the same source differences to its base, and is normed,
//
//   y[b, s, r] = norm(base[b, s, r] + sum over n of weights[b, s, r, n] *
//   delta[b, s, n]).
//
// The base is what the plain model would read, and the weights are f(mask); or,
// where any of them is not 0, it is what a fully patched destination reads, and
// the weights are f(mask) - 1: see patched_rows.
//
// Sources and rows lie token by token: delta [batch, seq, n, d_model], rows
// [batch, seq, rows, d_model]. So masks that all tokens share, masks for each
// position and masks for each example are one and the same loop over tokens, in
// which a dimension of `weights` may have stride 0; and all that a token needs
// stays in the cache.
namespace autocircuit {

/// Holds what rows are based on; of the type of the differences, or of that in
/// which the model accumulates.
struct RowBases {
  at::Tensor stream; // [batch, seq, d_model]
  /// Undefined if no row has it: what a fully patched destination reads [batch,
  /// seq, d_model], and which rows are based on it: 1, others 0, [batch or 1,
  /// seq or 1, rows, 1].
  at::Tensor patched = {};
  at::Tensor is_patched = {};
};

/// weights [batch or 1, seq or 1, rows, n], delta [batch, seq, n, d_model];
/// norm may be nullptr. Returns [batch, seq, rows, d_model]. Not
/// differentiable.
at::Tensor masked_rows(
    const RowBases& bases,
    const at::Tensor& weights,
    const at::Tensor& delta,
    const Norm* norm);

struct MaskedRowsGradient {
  at::Tensor stream;       // [batch, seq, d_model]
  at::Tensor values;       // like weights, or undefined if not wanted
  at::Tensor patched = {}; // [batch, seq, d_model], if wanted
};

/// Holds what a backward is to compute beside the gradient of the stream.
struct WantedGradients {
  bool values = true;
  bool patched = false;
};

/// The backward of `masked_rows` for `grad`, the gradient of its result [batch,
/// seq, rows, d_model]; the rows are recomputed rather than kept. Adds the
/// gradient of delta to `grad_delta`, if that is defined.
MaskedRowsGradient masked_rows_backward(
    const at::Tensor& grad,
    const RowBases& bases,
    const at::Tensor& weights,
    const at::Tensor& delta,
    const Norm* norm,
    WantedGradients wanted,
    const at::Tensor& grad_delta);

/// The same where all rows are x [batch, seq, d_model] itself, whatever the
/// values, which only name the rows. x and grad may be those of several points
/// one after another [points * batch, ...].
MaskedRowsGradient equal_rows_backward(
    const at::Tensor& grad,
    const at::Tensor& x,
    const at::Tensor& values,
    const at::Tensor& delta,
    const Norm* norm);

/// sum + rows [batch, seq, n, d_model], one after another: [batch, seq,
/// d_model], of the type in which the model accumulates. sum: undefined for
/// none. Differentiable.
at::Tensor add_rows(const at::Tensor& sum, const at::Tensor& rows);

/// Sum of rows [batch, seq, n, d_model] -> [batch, seq, d_model], of the type
/// in which the model accumulates. Where `patch` is defined, each row of `rows`
/// then becomes that of patch minus itself.
at::Tensor sum_rows(const at::Tensor& rows, const at::Tensor& patch = {});

} // namespace autocircuit
