#pragma once

#include <cstdint>

#include "autocircuit/kernels/rows.h"

// Norms of rows of fp32 on the CPU, and their gradients.
namespace autocircuit::kernels {

/// Says how rows are normed; see NormShape.
struct NormParameters {
  bool centred;
  float eps;
  const float* weight; // [d], or nullptr
  const float* bias;   // [d], or nullptr
  bool frozen_scale;   // the gradient takes the divisor for a constant
};

/// Norms rows in place.
void norm_rows(Rows rows, int64_t n, int64_t d, const NormParameters& norm);

/// With a row x[r] and the gradient grad[r] of the normed row, x[r] becomes
/// the gradient of the row.
void norm_rows_backward(
    Rows x,
    ConstRows grad,
    int64_t n,
    int64_t d,
    const NormParameters& norm);

} // namespace autocircuit::kernels
