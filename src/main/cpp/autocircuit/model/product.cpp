#include "autocircuit/model/product.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/matmul.h>
#include <torch/csrc/autograd/custom_function.h>

namespace autocircuit {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// What LibTorch's own products of 16-bit types ask of the CPU. For fp16 that is
// more than most have, and a compiler may not know its name.
bool has_instructions(at::ScalarType type) {
#if defined(__x86_64__)
  static const bool bf16 = __builtin_cpu_supports("avx512bw") != 0 &&
      __builtin_cpu_supports("avx512vl") != 0 &&
      __builtin_cpu_supports("avx512dq") != 0;
  return type == at::kBFloat16 && bf16;
#else
  (void)type;
  return true;
#endif
}

bool is_slow(const at::Tensor& x) {
  const at::ScalarType type = x.scalar_type();
  return x.is_cpu() && (type == at::kBFloat16 || type == at::kHalf) &&
      !has_instructions(type);
}

at::Tensor wide_product(const at::Tensor& a, const at::Tensor& b) {
  return at::matmul(a.to(at::kFloat), b.to(at::kFloat)).to(a.scalar_type());
}

/// Of operands with as many dimensions, of which none is repeated.
struct WideProduct : torch::autograd::Function<WideProduct> {
  static at::Tensor forward(
      AutogradContext* ctx,
      const at::Tensor& a,
      const at::Tensor& b) {
    ctx->save_for_backward({a, b});
    return wide_product(a, b);
  }

  static variable_list backward(
      AutogradContext* ctx,
      const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    return {
        ctx->needs_input_grad(0)
            ? wide_product(grads[0], saved[1].transpose(-2, -1))
            : at::Tensor(),
        ctx->needs_input_grad(1)
            ? wide_product(saved[0].transpose(-2, -1), grads[0])
            : at::Tensor()};
  }
};

} // namespace

at::Tensor product(const at::Tensor& a, const at::Tensor& b) {
  return is_slow(a) ? WideProduct::apply(a, b) : at::matmul(a, b);
}

at::Tensor affine(
    const at::Tensor& x,
    const at::Tensor& w,
    const at::Tensor& b) {
  if (!b.defined()) {
    return product(x, w);
  }
  return is_slow(x) ? product(x, w) + b : at::addmm(b, x, w);
}

} // namespace autocircuit
