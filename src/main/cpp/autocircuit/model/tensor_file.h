#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace autocircuit {

/// Says where a tensor lies in a file.
struct StoredTensor {
  at::ScalarType type; // kDouble, kFloat, kHalf, kBFloat16 or kByte
  int64_t begin;
  int64_t end;
  std::vector<int64_t> shape;
};

/// Unpacks places that were written one after another: scalar type, first byte,
/// byte past the last one, number of dimensions, dimensions.
std::vector<StoredTensor> stored_tensors(
    const std::string& path,
    at::IntArrayRef layout);

/// Copies tensors out of a file, as type `dtype` on `device`. What needs no
/// conversion is read to where it stays, the rest passes through a small
/// buffer, so the peak is the size of the result. Nothing is mapped: a page of
/// a file that shrinks or a disk that fails would end the process, where
/// reading throws.
std::vector<at::Tensor> read_tensors(
    const std::string& path,
    const std::vector<StoredTensor>& stored,
    at::ScalarType dtype,
    at::Device device);

} // namespace autocircuit
