#pragma once

#include <cstdint>

namespace autocircuit::kernels {

/// Row-major matrix whose rows need not be adjacent.
struct ConstRows {
  const float* data;
  int64_t stride;
};
struct Rows {
  float* data;
  int64_t stride;
};

/// Element (i, j) at data + i * row_stride + j * column_stride.
struct ConstMatrix {
  const float* data;
  int64_t row_stride;
  int64_t column_stride;
};

} // namespace autocircuit::kernels
