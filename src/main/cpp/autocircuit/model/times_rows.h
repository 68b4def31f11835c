#pragma once

#include <ATen/core/Tensor.h>

namespace autocircuit {

/// x [..., d] times the rows of w [n, d]: [..., n]. For few rows of x, and many
/// of w, reading w once is all the time it takes; a general product packs it
/// first.
at::Tensor times_rows(const at::Tensor& x, const at::Tensor& w);

} // namespace autocircuit
