#pragma once

#include <ATen/core/Tensor.h>

namespace autocircuit {

/// Rows of several heads by the weights of their head: x [batch, seq, rows, k]
/// times w [heads, k, n], plus b [heads, n] if it is defined, where as many
/// rows in turn as there are for each head are those of one head. [batch, seq,
/// rows, n]; differentiable.
at::Tensor head_product(
    const at::Tensor& x,
    const at::Tensor& w,
    const at::Tensor& b = {});

/// The same without a bias, into `out`; not differentiable.
void head_product_out(
    const at::Tensor& out,
    const at::Tensor& x,
    const at::Tensor& w);

} // namespace autocircuit
