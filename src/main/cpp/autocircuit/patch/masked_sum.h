#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

// The arithmetic of edge patching: each row of a destination adds its own
// weighting of the same source differences,
//
//   x[r] = base[r] + sum over s of values[r, s] * delta[s].
//
// Tokens fall into groups that share their mask values: one group of all
// tokens, or one for each example, or one for each token where masks differ
// from position to position. With G groups of C = batch * seq * d_model / G
// columns, every case is the same batched product
//
//   x [G, rows, C] = base + values [G, rows, n] @ delta [G, n, C]
//
// on views of delta [n, batch, seq, d_model], without copies.
//
// In fp16 and bf16 models `values` and the gradients of values and delta are
// fp32, and so is all arithmetic: tiles of 16-bit operands are widened, and
// what is stored as 16 bits is rounded once, when its sum is complete.
namespace autocircuit {

/// Mask values ([batch]) ([seq]) rows, n, as [groups, rows, n].
at::Tensor grouped_values(
    const at::Tensor& values,
    bool batched,
    bool positioned,
    int64_t batch,
    int64_t seq);

/// base [rows or 1, batch, seq, d_model], values [G, rows, n], delta [n,
/// batch, seq, d_model] -> [rows, batch, seq, d_model] of delta's type. Not
/// differentiable.
at::Tensor masked_sum(
    const at::Tensor& base,
    const at::Tensor& values,
    const at::Tensor& delta);

/// Gradient with respect to values [G, rows, n], for grad [rows, batch, seq,
/// d_model] of delta's type.
at::Tensor masked_sum_grad_values(
    const at::Tensor& grad,
    const at::Tensor& delta,
    int64_t groups);

/// Adds the gradient with respect to delta to `grad_delta` [n, batch, seq,
/// d_model] of values' type.
void add_masked_sum_grad_delta(
    const at::Tensor& grad_delta,
    const at::Tensor& grad,
    const at::Tensor& values);

} // namespace autocircuit
