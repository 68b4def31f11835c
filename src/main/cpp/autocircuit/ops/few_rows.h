#pragma once

#include <ATen/core/Tensor.h>

// Products of few rows with many weights. Reading the weights once is all the
// time they take; a general product packs them first.
namespace autocircuit {

/// Returns whether x [rows, k] times w [k, n], plus b [n] if it is defined, is
/// one of these. Autograd does not record them.
bool has_few_rows(
    const at::Tensor& x,
    const at::Tensor& w,
    const at::Tensor& b);

/// That product.
at::Tensor few_rows_product(
    const at::Tensor& x,
    const at::Tensor& w,
    const at::Tensor& b);

/// x [..., d] times the rows of w [n, d]: [..., n]. For few rows of x or many.
at::Tensor times_rows(const at::Tensor& x, const at::Tensor& w);

/// The same, with the bits of few rows for any number of them.
at::Tensor times_rows_apart(const at::Tensor& x, const at::Tensor& w);

} // namespace autocircuit
