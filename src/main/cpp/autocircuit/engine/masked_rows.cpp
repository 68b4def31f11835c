#include "autocircuit/engine/masked_rows.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>

#include "autocircuit/engine/kernel_rows.h"
#include "autocircuit/model/precision.h"
#include "autocircuit/model/product.h"

namespace autocircuit {

namespace {

// As many numbers of a wide copy stay in the cache, about.
constexpr int64_t kWideNumbers = int64_t{1} << 22U;

// From LibTorch's operations, for other types and devices than the kernels'.
// 16-bit operands are widened, and what is stored as 16 bits is rounded once,
// when its sum is complete.
at::Tensor wide(const at::Tensor& x) {
  return x.to(accumulation_type(x.scalar_type()));
}

at::Tensor plain_mix(
    const at::Tensor& base,
    const at::Tensor& values,
    const at::Tensor& delta) {
  const at::Tensor added = product(for_tokens(values, delta), wide(delta));
  return (wide(base).unsqueeze(2) + added).to(delta.scalar_type());
}

MaskedRowsGradient plain_backward(
    const at::Tensor& grad,
    const at::Tensor& rows,
    const at::Tensor& values,
    const at::Tensor& delta,
    const Norm* norm,
    bool want_values,
    const at::Tensor& grad_delta) {
  at::Tensor g = grad;
  if (norm != nullptr) {
    const at::AutoGradMode record(true);
    const at::Tensor x = rows.detach().requires_grad_(true);
    g = torch::autograd::grad({(*norm)(x)}, {x}, {grad})[0];
  }
  g = wide(g);
  MaskedRowsGradient result;
  result.base = g.sum(2).to(delta.scalar_type());
  if (want_values) {
    const TokenGroups groups(values, delta);
    result.values = product(g, wide(delta).transpose(2, 3));
    if (!groups.by_example) {
      result.values = result.values.sum(0, /*keepdim=*/true);
    }
    if (!groups.by_position) {
      result.values = result.values.sum(1, /*keepdim=*/true);
    }
  }
  if (grad_delta.defined()) {
    at::Tensor(grad_delta)
        .add_(product(for_tokens(values, delta).transpose(2, 3), g));
  }
  return result;
}

// Part after part of the tokens, so that wide copies of 16-bit operands stay
// small. `body` gets what takes its part of a tensor [batch or 1, seq or 1,
// ...].
template <typename Body>
void for_each_part(const at::Tensor& delta, const Body& body) {
  const int64_t batch = delta.size(0);
  const int64_t seq = delta.size(1);
  const bool narrow =
      accumulation_type(delta.scalar_type()) != delta.scalar_type();
  const int64_t of_token = std::max<int64_t>(delta.size(2) * delta.size(3), 1);
  const int64_t examples = narrow ? 1 : batch;
  const int64_t positions =
      narrow ? std::clamp<int64_t>(kWideNumbers / of_token, 1, seq) : seq;
  for (int64_t b = 0; b < batch; b += examples) {
    for (int64_t s = 0; s < seq; s += positions) {
      const int64_t n = std::min(positions, seq - s);
      body([=](const at::Tensor& x) {
        const at::Tensor some =
            x.size(0) == batch ? x.narrow(0, b, examples) : x;
        return some.size(1) == seq ? some.narrow(1, s, n) : some;
      });
    }
  }
}

at::Tensor plain_rows(
    const at::Tensor& base,
    const at::Tensor& values,
    const at::Tensor& delta,
    const Norm* norm) {
  at::Tensor out = at::empty(
      {delta.size(0), delta.size(1), values.size(2), delta.size(3)},
      delta.options());
  for_each_part(delta, [&](const auto& part) {
    const at::Tensor x = plain_mix(part(base), part(values), part(delta));
    part(out).copy_(norm == nullptr ? x : (*norm)(x));
  });
  return out;
}

MaskedRowsGradient plain_rows_backward(
    RowSource source,
    const at::Tensor& grad,
    const at::Tensor& base,
    const at::Tensor& values,
    const at::Tensor& delta,
    const Norm* norm,
    bool want_values,
    const at::Tensor& grad_delta) {
  MaskedRowsGradient result;
  result.base = at::empty(base.sizes(), base.options());
  if (want_values) {
    result.values = at::zeros(values.sizes(), values.options());
  }
  for_each_part(delta, [&](const auto& part) {
    const at::Tensor rows = source == RowSource::kMixed
        ? plain_mix(part(base), part(values), part(delta))
        : part(base).unsqueeze(2).expand_as(part(grad));
    const MaskedRowsGradient of_part = plain_backward(
        part(grad),
        rows,
        part(values),
        part(delta),
        norm,
        want_values,
        grad_delta.defined() ? part(grad_delta) : grad_delta);
    part(result.base).copy_(of_part.base);
    if (want_values) {
      part(result.values).add_(of_part.values);
    }
  });
  return result;
}

void check_types(
    const at::Tensor& base,
    const at::Tensor& values,
    const at::Tensor& delta) {
  const at::ScalarType type = delta.scalar_type();
  TORCH_CHECK(
      base.scalar_type() == type &&
          values.scalar_type() == accumulation_type(type),
      "expected an input of ",
      type,
      " and mask values of ",
      accumulation_type(type),
      " for source activations of ",
      type,
      ", got ",
      base.scalar_type(),
      " and ",
      values.scalar_type());
}

MaskedRowsGradient rows_backward(
    RowSource source,
    const at::Tensor& grad,
    const at::Tensor& base,
    const at::Tensor& values,
    const at::Tensor& delta,
    const Norm* norm,
    bool want_values,
    const at::Tensor& grad_delta) {
  const bool kernels = fits_kernels(delta) && fits_kernels(base);
  return (kernels ? kernel_rows_backward : plain_rows_backward)(
      source, grad, base, values, delta, norm, want_values, grad_delta);
}

} // namespace

at::Tensor masked_rows(
    const at::Tensor& base,
    const at::Tensor& values,
    const at::Tensor& delta,
    const Norm* norm) {
  check_types(base, values, delta);
  const bool kernels = fits_kernels(delta) && fits_kernels(base);
  return (kernels ? kernel_masked_rows : plain_rows)(base, values, delta, norm);
}

MaskedRowsGradient masked_rows_backward(
    const at::Tensor& grad,
    const at::Tensor& base,
    const at::Tensor& values,
    const at::Tensor& delta,
    const Norm* norm,
    bool want_values,
    const at::Tensor& grad_delta) {
  return rows_backward(
      RowSource::kMixed,
      grad,
      base,
      values,
      delta,
      norm,
      want_values,
      grad_delta);
}

MaskedRowsGradient equal_rows_backward(
    const at::Tensor& grad,
    const at::Tensor& x,
    const at::Tensor& values,
    const at::Tensor& delta,
    const Norm* norm) {
  return rows_backward(
      RowSource::kEqual,
      grad,
      x,
      values,
      delta,
      norm,
      /*want_values=*/true,
      /*grad_delta=*/{});
}

at::Tensor sum_rows(const at::Tensor& rows, const at::Tensor& patch) {
  if (fits_kernels(rows) && (!patch.defined() || fits_kernels(patch))) {
    return kernel_sum_rows(rows, patch);
  }
  const at::Tensor sum =
      rows.sum(2, /*keepdim=*/false, accumulation_type(rows.scalar_type()));
  if (patch.defined()) {
    at::Tensor out = rows;
    at::sub_out(out, patch, rows);
  }
  return sum;
}

} // namespace autocircuit
