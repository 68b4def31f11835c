#pragma once

#include <cstdint>

#include "autocircuit/kernels/rows.h"

// The arithmetic of edge patching on the CPU in fp32, one token at a time: all
// rows of a destination (36 of 768 numbers) stay in the second-level cache
// while the sources that feed it (150 of them) pass, a few at a time, as
// streams that hardware foresees. Nothing is packed or copied first, which a
// general matrix product does for every call.
//
// Rows are d_model contiguous numbers; a matrix of rows has a stride from one
// row to the next. Compiled for several instruction sets; the processor decides
// which one runs.
namespace autocircuit::kernels {

/// out[r] = bases[r] + sum over i of weights[r, i] * in[i], for n_out rows;
/// bases nullptr: out[r] += ... `scratch` holds n_out * n_in floats.
void weighted_rows(
    Rows out,
    const float* const* bases,
    ConstMatrix weights,
    ConstRows in,
    int64_t n_out,
    int64_t n_in,
    int64_t d,
    float* scratch);

/// out[r] = bases[r] + sum over t in [starts[r], starts[r + 1]) of weights[t] *
/// in[terms[t]], for n_out rows.
void weighted_terms(
    Rows out,
    const float* const* bases,
    const int64_t* starts,
    const int64_t* terms,
    const float* weights,
    ConstRows in,
    int64_t n_out,
    int64_t d);

/// products[r * n_b + i] += a[r] . b[i].
void add_row_products(
    float* products,
    ConstRows a,
    int64_t n_a,
    ConstRows b,
    int64_t n_b,
    int64_t d);

/// out += n rows, one after another.
void add_rows(float* out, ConstRows rows, int64_t n, int64_t d);

/// out = sum of n rows, and each row becomes patch - row.
void sum_and_subtract_rows(
    float* out,
    Rows rows,
    ConstRows patch,
    int64_t n,
    int64_t d);

} // namespace autocircuit::kernels
