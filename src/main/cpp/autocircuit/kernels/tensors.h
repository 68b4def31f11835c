#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "autocircuit/memory/rehearsal.h"

// The kernels' needs of tensors and of threads.
namespace autocircuit {

/// Returns whether the kernels can run: fp32 on the CPU, numbers of a row
/// adjacent.
inline bool fits_kernels(const at::Tensor& x) {
  return is_on_cpu(x) && x.scalar_type() == at::kFloat && x.stride(-1) == 1;
}

/// Returns whether autograd records what is done with it.
inline bool is_recorded(const at::Tensor& x) {
  return at::GradMode::is_enabled() && x.defined() && x.requires_grad();
}

/// With numbers beside each other; undefined stays undefined.
inline at::Tensor adjacent(const at::Tensor& x) {
  return x.defined() ? x.contiguous() : x;
}

/// Returns entries of a dimension, as index_select does, which has no kernel
/// for the meta device.
inline at::Tensor entries(
    const at::Tensor& x,
    int64_t dim,
    at::ArrayRef<int64_t> index) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape[static_cast<size_t>(dim)] = static_cast<int64_t>(index.size());
  return x.is_meta()
      ? x.new_empty(shape)
      : x.index_select(dim, at::tensor(index, x.options().dtype(at::kLong)));
}

/// Returns how many pieces of work of so many multiplications each are worth a
/// thread, by what LibTorch's own operations ask for.
inline int64_t grain(int64_t multiplications) {
  return at::internal::GRAIN_SIZE / std::max<int64_t>(multiplications, 1) + 1;
}

} // namespace autocircuit
