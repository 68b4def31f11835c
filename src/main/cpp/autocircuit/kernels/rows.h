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

} // namespace autocircuit::kernels
