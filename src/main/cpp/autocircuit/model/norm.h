#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "autocircuit/model/backward_rules.h"
#include "autocircuit/model/hooks.h"
#include "autocircuit/model/weights.h"

namespace autocircuit {

/// Holds what a norm does to the last dimension.
struct NormShape {
  /// Subtract the mean (LayerNorm) or not (RMSNorm).
  bool centred = true;
  /// Multiply by a weight, and for LayerNorm add a bias.
  bool affine = true;
  double eps = 1e-5;
  /// Added to the weight: Gemma stores it minus 1.
  double weight_offset = 0;
  /// Gradients go back as if the divisor was a constant.
  bool frozen_scale = false;
};

/// "layer_norm", "rms_norm", either with "_pre" appended where it has no
/// weights of its own (they are folded into what follows).
NormShape norm_named(const std::string& name, double eps);

/// LayerNorm or RMSNorm over the last dimension. Computes in fp32 at least.
class Norm {
 public:
  Norm(
      const Weights& weights,
      const std::string& prefix,
      int64_t size,
      const NormShape& shape);

  at::Tensor operator()(const at::Tensor& x) const;

  /// Returns the norm whose gradients obey rules.
  Norm under(const BackwardRules& rules) const;

  bool frozen_scale() const {
    return shape_.frozen_scale;
  }
  bool centred() const {
    return shape_.centred;
  }
  double eps() const {
    return shape_.eps;
  }
  /// [size]; undefined without affine or for RMSNorm.
  const at::Tensor& bias() const {
    return b_;
  }

  /// For norms without mean and bias: what multiplies each position [..., 1]
  /// and each dimension [size], undefined without affine, of x.
  at::Tensor position_factor(const at::Tensor& x) const;
  at::Tensor dimension_factor() const;

  /// Offers the divisor and the normalised value, before weight and bias, to
  /// readers.
  void read(
      const at::Tensor& x,
      HookId scale_hook,
      HookId normalized,
      Hooks& hooks) const;

 private:
  friend struct FrozenNormFunction;

  struct Normed {
    at::Tensor value;
    at::Tensor inverse; // of the divisor, if asked for
  };
  Normed normed(const at::Tensor& x, bool want_inverse) const;
  at::Tensor centre(const at::Tensor& x) const;
  /// sqrt(mean square + eps), for x minus its mean if that is subtracted.
  at::Tensor scale(const at::Tensor& centred) const;

  NormShape shape_;
  at::Tensor w_; // [size]; undefined without affine
  at::Tensor b_; // [size]; undefined without affine or for RMSNorm
};

} // namespace autocircuit
