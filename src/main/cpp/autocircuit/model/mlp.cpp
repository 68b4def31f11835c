#include "autocircuit/model/mlp.h"

#include <ATen/ops/gelu.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/threshold.h>

#include "autocircuit/ops/pieces.h"
#include "autocircuit/ops/product.h"

namespace autocircuit {

namespace {

at::Tensor activate(Activation activation, const at::Tensor& x) {
  switch (activation) {
    case Activation::kGeluNew:
      return at::gelu(x, "tanh");
    case Activation::kGelu:
      return at::gelu(x);
    case Activation::kRelu:
      // Not at::relu, which has no kernel for the meta device.
      return at::threshold(x, 0, 0);
    case Activation::kSilu:
      return at::silu(x);
  }
  TORCH_CHECK(false, "unknown activation");
}

} // namespace

Activation activation_named(const std::string& name) {
  if (name == "gelu_new") {
    return Activation::kGeluNew;
  }
  if (name == "gelu") {
    return Activation::kGelu;
  }
  if (name == "relu") {
    return Activation::kRelu;
  }
  if (name == "silu") {
    return Activation::kSilu;
  }
  TORCH_CHECK(
      false,
      "expected activation gelu_new, gelu, relu or silu, got '",
      name,
      "'");
}

Mlp::Mlp(
    const Weights& weights,
    const std::string& prefix,
    int64_t d_model,
    int64_t d_mlp,
    Activation activation,
    bool gated,
    bool biases,
    HookId pre,
    HookId post)
    : w_in_(weights.get(prefix + ".W_in", {d_model, d_mlp})),
      activation_(activation),
      pre_(pre),
      post_(post) {
  if (gated) {
    w_gate_ = weights.get(prefix + ".W_gate", {d_model, d_mlp});
  }
  if (biases) {
    b_in_ = weights.get_optional(prefix + ".b_in", {d_mlp});
  }
  w_out_ = weights.get(prefix + ".W_out", {d_mlp, d_model});
  if (biases) {
    b_out_ = weights.get_optional(prefix + ".b_out", {d_model});
  }
}

at::Tensor Mlp::operator()(
    const at::Tensor& x,
    const BackwardRules& rules,
    Hooks& hooks) const {
  at::Tensor flat = x.reshape({-1, x.size(-1)});
  if (w_gate_.defined()) {
    // All that comes back here comes from one of the two operands.
    flat = scale_gradient(flat, rules.gated_mlps);
  }
  const auto positions = [&](const at::Tensor& value) {
    return value.view({x.size(0), x.size(1), value.size(-1)});
  };
  // As in TransformerLens, the bias b_in of a gated MLP belongs to what the
  // gate multiplies.
  const at::Tensor pre =
      w_gate_.defined() ? product(flat, w_gate_) : affine(flat, w_in_, b_in_);
  hooks.read(pre_, positions(pre));
  const auto activated = [&](const at::Tensor& y) {
    return activate(activation_, y);
  };
  at::Tensor post = hooks.tokens_are_apart() // [batch * seq, d_mlp]
      ? in_pieces(pre, activated)
      : activated(pre);
  if (w_gate_.defined()) {
    post = post * product(flat, w_in_);
    if (b_in_.defined()) {
      post = post + b_in_;
    }
  }
  hooks.read(post_, positions(post));
  return positions(affine(post, w_out_, b_out_));
}

} // namespace autocircuit
