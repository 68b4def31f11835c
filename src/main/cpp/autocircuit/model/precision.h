#pragma once

#include <c10/core/ScalarType.h>

namespace autocircuit {

/// The type in which a model of weights and activations of `type` adds up:
/// masks and what is made of them, statistics of norms and softmax, losses and
/// gradients of masks. fp32, and fp64 in fp64 models; so nothing that sums over
/// many terms is rounded to 8 or 11 bits on the way.
inline c10::ScalarType accumulation_type(c10::ScalarType type) {
  return type == c10::kDouble ? c10::kDouble : c10::kFloat;
}

} // namespace autocircuit
