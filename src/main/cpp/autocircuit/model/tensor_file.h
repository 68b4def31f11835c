#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace autocircuit {

/// Where a tensor lies in a file.
struct StoredTensor {
  at::ScalarType type;
  int64_t begin;
  int64_t end;
  std::vector<int64_t> shape;
};

/// Copies tensors out of a file, as type `dtype` on `device`. The file is
/// memory-mapped and each tensor's pages are given back once it is copied, so
/// the peak is about the size of the result; a copy rather than the mapping
/// itself, since a file that shrinks later would end the process.
std::vector<at::Tensor> read_tensors(
    const std::string& path,
    const std::vector<StoredTensor>& stored,
    at::ScalarType dtype,
    at::Device device);

} // namespace autocircuit
