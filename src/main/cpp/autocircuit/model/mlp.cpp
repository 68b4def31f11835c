#include "autocircuit/model/mlp.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/relu.h>

namespace autocircuit {

namespace {

at::Tensor activate(Activation activation, const at::Tensor& x) {
  switch (activation) {
    case Activation::kGeluNew:
      return at::gelu(x, "tanh");
    case Activation::kGelu:
      return at::gelu(x);
    case Activation::kRelu:
      return at::relu(x);
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
  TORCH_CHECK(
      false, "expected activation gelu_new, gelu or relu, got '", name, "'");
}

Mlp::Mlp(
    const Weights& weights,
    const std::string& prefix,
    int64_t d_model,
    int64_t d_mlp,
    Activation activation,
    HookId pre,
    HookId post)
    : w_in_(weights.get(prefix + ".W_in", {d_model, d_mlp})),
      b_in_(weights.get(prefix + ".b_in", {d_mlp})),
      w_out_(weights.get(prefix + ".W_out", {d_mlp, d_model})),
      b_out_(weights.get(prefix + ".b_out", {d_model})),
      activation_(activation),
      pre_(pre),
      post_(post) {}

at::Tensor Mlp::operator()(const at::Tensor& x, Hooks& hooks) const {
  const at::Tensor pre = at::addmm(b_in_, x.reshape({-1, x.size(-1)}), w_in_);
  const auto positions = [&](const at::Tensor& value) {
    return value.view({x.size(0), x.size(1), value.size(-1)});
  };
  hooks.read(pre_, positions(pre));
  const at::Tensor post = activate(activation_, pre); // [batch * seq, d_mlp]
  hooks.read(post_, positions(post));
  return positions(at::addmm(b_out_, post, w_out_));
}

} // namespace autocircuit
