#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "autocircuit/model/backward_rules.h"
#include "autocircuit/model/hooks.h"
#include "autocircuit/model/weights.h"

namespace autocircuit {

/// The functions an MLP may apply between its two projections.
enum class Activation { kGeluNew, kGelu, kRelu, kSilu };

Activation activation_named(const std::string& name);

/// Two projections with an activation between them, from normed input to what
/// is added to the residual stream. A gated MLP multiplies the activation of
/// one projection by another.
class Mlp {
 public:
  Mlp(const Weights& weights,
      const std::string& prefix,
      int64_t d_model,
      int64_t d_mlp,
      Activation activation,
      bool gated,
      bool biases,
      HookId pre,
      HookId post);

  /// Multiplications for each token.
  double cost() const {
    const int64_t gate = w_gate_.defined() ? w_gate_.numel() : 0;
    return static_cast<double>(w_in_.numel() + w_out_.numel() + gate);
  }

  /// x: [batch, seq, d_model].
  at::Tensor operator()(
      const at::Tensor& x,
      const BackwardRules& rules,
      Hooks& hooks) const;

 private:
  at::Tensor w_in_;   // [d_model, d_mlp]
  at::Tensor w_gate_; // [d_model, d_mlp], or undefined
  at::Tensor b_in_;   // [d_mlp], or undefined
  at::Tensor w_out_;  // [d_mlp, d_model]
  at::Tensor b_out_;  // [d_model], or undefined
  Activation activation_;
  HookId pre_;
  HookId post_;
};

} // namespace autocircuit
