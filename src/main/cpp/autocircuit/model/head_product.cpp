#include "autocircuit/model/head_product.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "autocircuit/kernels/fits_kernels.h"
#include "autocircuit/kernels/head_kernels.h"
#include "autocircuit/model/product.h"

namespace autocircuit {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

bool is_trained(const at::Tensor& x) {
  return at::GradMode::is_enabled() && x.defined() && x.requires_grad();
}

int64_t token_stride(const at::Tensor& x) {
  return x.size(1) == 1 ? x.stride(0) : x.stride(1);
}

// With the numbers of a row adjacent, and one stride from token to token.
bool has_rows(const at::Tensor& x) {
  return fits_kernels(x) &&
      (x.size(0) == 1 || x.stride(0) == x.size(1) * token_stride(x));
}

bool has_kernel(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) {
  return x.is_cpu() && x.scalar_type() == at::kFloat &&
      w.scalar_type() == at::kFloat && (w.stride(1) == 1 || w.stride(2) == 1) &&
      !is_trained(w) && !is_trained(b);
}

void multiply(
    const at::Tensor& out,
    const at::Tensor& x,
    const at::Tensor& w,
    const at::Tensor& b) {
  const int64_t tokens = x.size(0) * x.size(1);
  const int64_t rows = x.size(2);
  const int64_t repeats = rows / w.size(0);
  const int64_t k = w.size(1);
  const int64_t n = w.size(2);
  const auto* from = x.const_data_ptr<float>();
  auto* to = out.mutable_data_ptr<float>();
  const auto* weights = w.const_data_ptr<float>();
  const float* bias = b.defined() ? b.const_data_ptr<float>() : nullptr;
  const int64_t grain =
      at::internal::GRAIN_SIZE / std::max<int64_t>(tokens * k * n, 1) + 1;
  at::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
    const auto scratch = std::make_unique_for_overwrite<float[]>(
        static_cast<size_t>(kernels::head_product_scratch()));
    for (int64_t row = begin; row < end; row++) {
      const int64_t head = row / repeats;
      kernels::head_product(
          {to + row * out.stride(2), token_stride(out)},
          {from + row * x.stride(2), token_stride(x)},
          {weights + head * w.stride(0), w.stride(1), w.stride(2)},
          bias != nullptr ? bias + head * b.stride(0) : nullptr,
          tokens,
          k,
          n,
          scratch.get());
    }
  });
}

at::Tensor kernel_product(
    const at::Tensor& x,
    const at::Tensor& w,
    const at::Tensor& b) {
  const at::Tensor out =
      at::empty({x.size(0), x.size(1), x.size(2), w.size(2)}, x.options());
  multiply(out, has_rows(x) ? x : x.contiguous(), w, b);
  return out;
}

// Rows of one head lie one after another, so they are more rows of one product.
at::Tensor general_product(
    const at::Tensor& x,
    const at::Tensor& w,
    const at::Tensor& b) {
  const int64_t heads = w.size(0);
  const int64_t repeats = x.size(2) / heads;
  at::Tensor y = product(
      x.unflatten(2, at::IntArrayRef{heads, repeats})
          .permute({2, 0, 1, 3, 4})
          .reshape({heads, -1, x.size(3)}),
      w);
  if (b.defined()) {
    y.add_(b.unsqueeze(1));
  }
  return y.view({heads, x.size(0), x.size(1), repeats, w.size(2)})
      .permute({1, 2, 0, 3, 4})
      .flatten(2, 3);
}

// As an input of a function a tensor has to be defined.
std::optional<at::Tensor> optional(const at::Tensor& x) {
  return x.defined() ? std::optional<at::Tensor>(x) : std::nullopt;
}

struct HeadProductFunction : torch::autograd::Function<HeadProductFunction> {
  static at::Tensor forward(
      AutogradContext* ctx,
      const at::Tensor& x,
      const at::Tensor& w,
      const std::optional<at::Tensor>& b) {
    ctx->save_for_backward({w});
    return kernel_product(x, w, b.value_or(at::Tensor()));
  }

  static variable_list backward(
      AutogradContext* ctx,
      const variable_list& grads) {
    const at::Tensor w = ctx->get_saved_variables()[0];
    return {head_product(grads[0], w.transpose(1, 2)), {}, {}};
  }
};

} // namespace

at::Tensor head_product(
    const at::Tensor& x,
    const at::Tensor& w,
    const at::Tensor& b) {
  if (!has_kernel(x, w, b)) {
    return general_product(x, w, b);
  }
  return is_trained(x) ? HeadProductFunction::apply(x, w, optional(b))
                       : kernel_product(x, w, b);
}

void head_product_out(
    const at::Tensor& out,
    const at::Tensor& x,
    const at::Tensor& w) {
  if (has_kernel(x, w, {}) && has_rows(out)) {
    multiply(out, has_rows(x) ? x : x.contiguous(), w, {});
    return;
  }
  // One row at a time, since there may not be memory for all of them twice.
  const int64_t repeats = x.size(2) / w.size(0);
  for (int64_t row = 0; row < x.size(2); row++) {
    out.select(2, row).copy_(product(x.select(2, row), w[row / repeats]));
  }
}

} // namespace autocircuit
