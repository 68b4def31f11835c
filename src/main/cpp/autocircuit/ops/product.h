#pragma once

#include <ATen/core/Tensor.h>

namespace autocircuit {

/// The product of two matrices, or of those of batches of one shape, divided
/// among threads. fp32 matrices on the CPU have a kernel, which reads them
/// where they lie and uses the widest vectors there are. 16-bit types on a CPU
/// without instructions for them, for which at::matmul is some hundred times
/// slower than for fp32, are widened, and the product is rounded once.
/// Differentiable; keeps no wide copies.
at::Tensor product(const at::Tensor& a, const at::Tensor& b);

/// The same into a matrix or matrices that may have gaps. Not differentiable.
void product_out(
    const at::Tensor& out,
    const at::Tensor& a,
    const at::Tensor& b);

/// x [rows, n] times w [n, m], plus b [m] if it is defined.
at::Tensor affine(
    const at::Tensor& x,
    const at::Tensor& w,
    const at::Tensor& b);

} // namespace autocircuit
