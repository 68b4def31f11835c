#include "autocircuit/model/layer_norm.h"

#include <ATen/ops/layer_norm.h>
#include <ATen/ops/sqrt.h>

namespace autocircuit {

LayerNorm::LayerNorm(
    const Weights& weights,
    const std::string& prefix,
    int64_t d_model,
    double eps)
    : w_(weights.get(prefix + ".w", {d_model})),
      b_(weights.get(prefix + ".b", {d_model})),
      eps_(eps) {}

at::Tensor LayerNorm::scale(const at::Tensor& centred) const {
  return at::sqrt(centred.square().mean(/*dim=*/-1, /*keepdim=*/true) + eps_);
}

at::Tensor LayerNorm::operator()(const at::Tensor& x) const {
  if (x.is_meta()) { // the fused operation has no kernel there
    const at::Tensor centred = x - x.mean(/*dim=*/-1, /*keepdim=*/true);
    return centred / scale(centred) * w_ + b_;
  }
  return at::layer_norm(x, {x.size(-1)}, w_, b_, eps_);
}

void LayerNorm::read(
    const at::Tensor& x,
    HookId scale_hook,
    HookId normalized,
    Hooks& hooks) const {
  if (!hooks.wants(scale_hook) && !hooks.wants(normalized)) {
    return;
  }
  const at::Tensor centred = x - x.mean(/*dim=*/-1, /*keepdim=*/true);
  const at::Tensor s = scale(centred);
  hooks.read(scale_hook, s);
  hooks.read(normalized, centred / s);
}

} // namespace autocircuit
