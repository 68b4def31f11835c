#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace autocircuit {

/// Rows of several heads by the weights of their head: x [batch, seq, rows, k]
/// times w [heads, k, n], plus b [heads, n] if it is defined. With r rows for
/// each head, rows h * r to (h + 1) * r - 1 are those of head h. Returns
/// [batch, seq, rows, n]; differentiable.
at::Tensor head_product(
    const at::Tensor& x,
    const at::Tensor& w,
    const at::Tensor& b = {});

/// Tokens whose products read the weights where they lie.
constexpr int64_t kFewTokens = 16;

/// The same of several x, which read the weights once if they have few tokens.
/// Not differentiable.
std::vector<at::Tensor> head_products(
    const std::vector<at::Tensor>& xs,
    const at::Tensor& w,
    const at::Tensor& b);

/// The same without a bias, into `out`, whose tokens have one stride; not
/// differentiable.
void head_product_out(
    const at::Tensor& out,
    const at::Tensor& x,
    const at::Tensor& w);

} // namespace autocircuit
