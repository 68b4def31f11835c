#include "autocircuit/model/norm.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/native_layer_norm.h>
#include <ATen/ops/sqrt.h>
#include <torch/csrc/autograd/custom_function.h>

#include "autocircuit/memory/backward_scope.h"
#include "autocircuit/model/precision.h"

namespace autocircuit {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// A norm whose gradients go back as if its divisor was a constant. Keeps that,
/// and not its input.
struct FrozenNormFunction : torch::autograd::Function<FrozenNormFunction> {
  static at::Tensor forward(
      AutogradContext* ctx,
      const at::Tensor& x,
      const Norm& norm) {
    Norm::Normed normed = norm.normed(x, /*want_inverse=*/true);
    ctx->save_for_backward({norm.dimension_factor(), normed.inverse});
    ctx->saved_data["centred"] = norm.centred();
    return normed.value;
  }

  static variable_list backward(
      AutogradContext* ctx,
      const variable_list& grads) {
    const BackwardScope scope;
    const auto saved = ctx->get_saved_variables();
    const at::Tensor& factor = saved[0];
    at::Tensor grad = grads[0].to(accumulation_type(grads[0].scalar_type()));
    grad = factor.defined() ? grad * factor : grad;
    if (ctx->saved_data["centred"].toBool()) {
      grad = grad - grad.mean(/*dim=*/-1, /*keepdim=*/true);
    }
    return {(grad * saved[1]).to(grads[0].scalar_type()), {}};
  }
};

/// Makes and keeps what LibTorch's LayerNorm does, copies of what is not
/// contiguous included; that has no kernel for the meta device.
struct LayerNormOnMeta : torch::autograd::Function<LayerNormOnMeta> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x) {
    const at::Tensor of_rows = x.new_empty(x.sizes().slice(0, x.dim() - 1));
    ctx->save_for_backward({x, of_rows, at::empty_like(of_rows)});
    return at::empty_like(x.contiguous());
  }

  static variable_list backward(
      AutogradContext* ctx,
      const variable_list& grads) {
    const at::Tensor x = ctx->get_saved_variables()[0].contiguous();
    const at::Tensor grad = grads[0].contiguous();
    return {at::empty_like(x)};
  }
};

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

Norm Norm::under(const BackwardRules& rules) const {
  Norm norm = *this;
  norm.shape_.frozen_scale = rules.frozen_norms;
  return norm;
}

at::Tensor Norm::operator()(const at::Tensor& x) const {
  return shape_.frozen_scale ? FrozenNormFunction::apply(x, *this)
                             : normed(x, /*want_inverse=*/false).value;
}

Norm::Normed Norm::normed(const at::Tensor& x, bool want_inverse) const {
  if (shape_.centred) {
    if (x.is_meta()) {
      return {
          LayerNormOnMeta::apply(x),
          want_inverse ? at::empty_like(x.narrow(-1, 0, 1)) : at::Tensor()};
    }
    if (!want_inverse) {
      return {
          at::layer_norm(x, {x.size(-1)}, dimension_factor(), b_, shape_.eps),
          {}};
    }
    auto [value, mean, inverse] = at::native_layer_norm(
        x, {x.size(-1)}, dimension_factor(), b_, shape_.eps);
    return {value, inverse};
  }
  const at::Tensor centred = centre(x);
  const at::Tensor divisor = scale(centred);
  at::Tensor y = centred / divisor;
  if (w_.defined()) {
    y = y * dimension_factor();
    y = b_.defined() ? y + b_ : y;
  }
  return {
      y.to(x.scalar_type()),
      want_inverse ? divisor.reciprocal() : at::Tensor()};
}

at::Tensor Norm::position_factor(const at::Tensor& x) const {
  TORCH_CHECK(
      !shape_.centred, "a LayerNorm is no product of positions and dimensions");
  const at::Tensor divisor = scale(centre(x));
  return (shape_.frozen_scale ? divisor.detach() : divisor).reciprocal();
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
