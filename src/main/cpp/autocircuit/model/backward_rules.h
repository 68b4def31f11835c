#pragma once

#include <ATen/core/Tensor.h>

namespace autocircuit {

/// Says how gradients go back through a model where they are to be something
/// else than its derivative. Values do not change. Without more, they are the
/// derivative.
struct BackwardRules {
  /// Norms go back as if their divisor was a constant.
  bool frozen_norms = false;
  /// The softmax of attention scores goes back as if it had been one of scores
  /// divided by so much, with respect to the divided scores.
  double softmax_temperature = 1;
  // Factors of the gradients of all operands of a product:
  double queries_and_keys = 1;
  double values = 1;     // of attention; the pattern is as it is
  double gated_mlps = 1; // of what a gate multiplies, and of the gate
};

/// x, whose gradient goes back times a factor.
at::Tensor scale_gradient(const at::Tensor& x, double factor);

/// The softmax over the last dimension of attention scores.
at::Tensor attention_softmax(
    const at::Tensor& scores,
    const BackwardRules& rules);

} // namespace autocircuit
