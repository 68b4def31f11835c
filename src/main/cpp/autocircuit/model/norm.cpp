#include "autocircuit/model/norm.h"

#include <ATen/ops/layer_norm.h>
#include <ATen/ops/sqrt.h>

#include "autocircuit/model/precision.h"

namespace autocircuit {

NormShape norm_named(const std::string& name, double eps) {
  NormShape shape;
  shape.eps = eps;
  shape.centred = name.starts_with("layer_norm");
  shape.affine = !name.ends_with("_pre");
  const std::string kind =
      shape.affine ? name : name.substr(0, name.size() - 4);
  TORCH_CHECK(
      kind == "layer_norm" || kind == "rms_norm",
      "expected norm layer_norm, layer_norm_pre, rms_norm or rms_norm_pre, "
      "got '",
      name,
      "'");
  return shape;
}

Norm::Norm(
    const Weights& weights,
    const std::string& prefix,
    int64_t size,
    const NormShape& shape)
    : shape_(shape) {
  if (shape.affine) {
    w_ = weights.get(prefix + ".w", {size});
    if (shape.centred) {
      b_ = weights.get(prefix + ".b", {size});
    }
  }
}

at::Tensor Norm::dimension_factor() const {
  return !w_.defined() || shape_.weight_offset == 0
      ? w_
      : w_.to(accumulation_type(w_.scalar_type())) + shape_.weight_offset;
}

at::Tensor Norm::centre(const at::Tensor& x) const {
  const at::Tensor wide = x.to(accumulation_type(x.scalar_type()));
  return shape_.centred ? wide - wide.mean(/*dim=*/-1, /*keepdim=*/true) : wide;
}

at::Tensor Norm::scale(const at::Tensor& centred) const {
  return at::sqrt(
      centred.square().mean(/*dim=*/-1, /*keepdim=*/true) + shape_.eps);
}

at::Tensor Norm::operator()(const at::Tensor& x) const {
  // The fused operation has no kernel on the meta device.
  if (shape_.centred && !x.is_meta()) {
    return at::layer_norm(x, {x.size(-1)}, dimension_factor(), b_, shape_.eps);
  }
  const at::Tensor centred = centre(x);
  at::Tensor y = centred / scale(centred);
  if (w_.defined()) {
    y = y * dimension_factor();
    y = b_.defined() ? y + b_ : y;
  }
  return y.to(x.scalar_type());
}

at::Tensor Norm::position_factor(const at::Tensor& x) const {
  TORCH_CHECK(
      !shape_.centred, "a LayerNorm is no product of positions and dimensions");
  return scale(centre(x)).reciprocal();
}

void Norm::read(
    const at::Tensor& x,
    HookId scale_hook,
    HookId normalized,
    Hooks& hooks) const {
  if (!hooks.wants(scale_hook) && !hooks.wants(normalized)) {
    return;
  }
  const at::Tensor centred = centre(x);
  const at::Tensor s = scale(centred);
  hooks.read(scale_hook, s.to(x.scalar_type()));
  hooks.read(normalized, (centred / s).to(x.scalar_type()));
}

} // namespace autocircuit
