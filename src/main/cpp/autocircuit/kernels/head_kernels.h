#pragma once

#include <cstdint>

#include "autocircuit/kernels/rows.h"

// Products of many small weight matrices, one for each head, with rows that lie
// between those of other heads. A general matrix product gathers both for each
// head and call; here the rows stay where they are, and the weights are brought
// into order a panel at a time.
namespace autocircuit::kernels {

/// Floats that head_product needs as scratch memory.
int64_t head_product_scratch();

/// out[t] = bias + sum over i in [0, k) of x[t, i] * weights[i], rows of n
/// numbers, for so many tokens; bias nullptr: none. One stride of the weights
/// is 1.
void head_product(
    Rows out,
    ConstRows x,
    ConstMatrix weights,
    const float* bias,
    int64_t tokens,
    int64_t k,
    int64_t n,
    float* scratch);

} // namespace autocircuit::kernels
