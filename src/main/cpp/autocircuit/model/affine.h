#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

namespace autocircuit {

/// x [rows, n] times w [n, m], plus b [m] if it is defined.
inline at::Tensor affine(
    const at::Tensor& x,
    const at::Tensor& w,
    const at::Tensor& b) {
  return b.defined() ? at::addmm(b, x, w) : at::mm(x, w);
}

} // namespace autocircuit
