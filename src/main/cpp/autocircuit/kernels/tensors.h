#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cstdint>

// The kernels' needs of tensors and of threads.
namespace autocircuit {

/// Returns whether the kernels can run: fp32 on the CPU, numbers of a row
/// adjacent.
inline bool fits_kernels(const at::Tensor& x) {
  return x.is_cpu() && x.scalar_type() == at::kFloat && x.stride(-1) == 1;
}

/// Returns whether autograd records what is done with it.
inline bool is_recorded(const at::Tensor& x) {
  return at::GradMode::is_enabled() && x.defined() && x.requires_grad();
}

/// With numbers beside each other; undefined stays undefined.
inline at::Tensor adjacent(const at::Tensor& x) {
  return x.defined() ? x.contiguous() : x;
}

/// Returns how many pieces of work of so many multiplications each are worth a
/// thread, by what LibTorch's own operations ask for.
inline int64_t grain(int64_t multiplications) {
  return at::internal::GRAIN_SIZE / std::max<int64_t>(multiplications, 1) + 1;
}

} // namespace autocircuit
