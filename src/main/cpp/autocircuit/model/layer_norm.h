#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "autocircuit/model/hooks.h"
#include "autocircuit/model/weights.h"

namespace autocircuit {

/// LayerNorm over the last dimension.
class LayerNorm {
 public:
  LayerNorm(
      const Weights& weights,
      const std::string& prefix,
      int64_t d_model,
      double eps);

  at::Tensor operator()(const at::Tensor& x) const;

  /// Offers sqrt(variance + eps) and the normalised value, before weight and
  /// bias, to readers.
  void read(
      const at::Tensor& x,
      HookId scale_hook,
      HookId normalized,
      Hooks& hooks) const;

 private:
  /// sqrt(variance + eps), for x minus its mean.
  at::Tensor scale(const at::Tensor& centred) const;

  at::Tensor w_; // [d_model]
  at::Tensor b_; // [d_model]
  double eps_;
};

} // namespace autocircuit
