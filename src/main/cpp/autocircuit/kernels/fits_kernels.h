#pragma once

#include <ATen/core/Tensor.h>

namespace autocircuit {

/// Whether the kernels can run: fp32 on the CPU, numbers of a row adjacent.
inline bool fits_kernels(const at::Tensor& x) {
  return x.is_cpu() && x.scalar_type() == at::kFloat && x.stride(-1) == 1;
}

} // namespace autocircuit
