#pragma once

#include <cstdint>

#include "autocircuit/kernels/rows.h"

// Products of rows with weights, which are brought into order a panel at a
// time. The rows stay where they are, so they may lie between those of other
// heads; a general matrix product gathers both for each head and call.
namespace autocircuit::kernels {

/// Floats that packed_product needs as scratch memory.
int64_t packed_product_scratch();

/// out[t] = bias + sum over i in [0, k) of x[t, i] * weights[i], rows of n
/// numbers, for so many tokens; bias nullptr: none. One stride of the weights
/// is 1, and k is not 0.
void packed_product(
    Rows out,
    ConstRows x,
    ConstMatrix weights,
    const float* bias,
    int64_t tokens,
    int64_t k,
    int64_t n,
    float* scratch);

} // namespace autocircuit::kernels
