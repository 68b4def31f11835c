#pragma once

#include <ATen/core/Tensor.h>

#include "autocircuit/model/norm.h"

// What a destination reads: each of its rows adds its own weighting of the same
// source differences to what the plain model would read, and is normed,
//
//   y[b, s, r] = norm(base[b, s] + sum over n of values[b, s, r, n] * delta[b,
//   s, n]).
//
// Sources and rows lie token by token: delta [batch, seq, n, d_model], rows
// [batch, seq, rows, d_model]. So masks that all tokens share, masks for each
// position and masks for each example are one and the same loop over tokens, in
// which a dimension of `values` may have stride 0; and all that a token needs
// stays in the cache.
namespace autocircuit {

/// base [batch, seq, d_model], values [batch or 1, seq or 1, rows, n], delta
/// [batch, seq, n, d_model]; norm may be nullptr. Returns [batch, seq, rows,
/// d_model]. Not differentiable.
at::Tensor masked_rows(
    const at::Tensor& base,
    const at::Tensor& values,
    const at::Tensor& delta,
    const Norm* norm);

struct MaskedRowsGradient {
  at::Tensor base;   // [batch, seq, d_model]
  at::Tensor values; // like values, or undefined if not wanted
};

/// The backward of `masked_rows` for `grad`, the gradient of its result [batch,
/// seq, rows, d_model]; the rows are computed anew rather than kept. Adds the
/// gradient of delta to `grad_delta`, if that is defined.
MaskedRowsGradient masked_rows_backward(
    const at::Tensor& grad,
    const at::Tensor& base,
    const at::Tensor& values,
    const at::Tensor& delta,
    const Norm* norm,
    bool want_values,
    const at::Tensor& grad_delta);

/// The same where all rows are x [batch, seq, d_model] itself, whatever the
/// values, which only name the rows.
MaskedRowsGradient equal_rows_backward(
    const at::Tensor& grad,
    const at::Tensor& x,
    const at::Tensor& values,
    const at::Tensor& delta,
    const Norm* norm);

/// Sum of rows [batch, seq, n, d_model] -> [batch, seq, d_model], of the type
/// in which the model accumulates. Where `patch`
/// is defined, each row of `rows` then becomes that of patch minus itself.
at::Tensor sum_rows(const at::Tensor& rows, const at::Tensor& patch = {});

} // namespace autocircuit
